//! The operators of the domain `ai.onnx.ml` (version 5 of its operator set):
//! classical models as scikit-learn, LightGBM and XGBoost export them.
//!
//! tract reads some of them, and those in part differently from the specification and
//! ONNX Runtime, so that all are read here: [`register`] puts our readers in
//! the place of tract's. Most operators are composed of tract's own; what is not
//! to be had there, ensembles of trees, distances and the coupling of
//! probabilities, are operators of ours with kernels of their own.
//!
//! A component has tensors of numbers only. [`prepare`] takes out of a file what
//! is not: maps and strings.

use tract_onnx::Onnx;

pub mod attributes;
pub mod coupling;
pub mod distances;
pub mod encoders;
pub mod features;
pub mod labels;
pub mod linear;
pub mod post;
pub mod svm;
pub mod trees;

pub use labels::prepare;

/// Puts the readers of this module into tract's register.
pub fn register(onnx: &mut Onnx) {
    let register = &mut onnx.op_register;
    register.insert("ArrayFeatureExtractor", features::array_feature_extractor);
    register.insert("Binarizer", features::binarizer);
    register.insert("CastMap", labels::refuse_map);
    register.insert("CategoryMapper", encoders::category_mapper);
    register.insert("DictVectorizer", labels::refuse_map);
    register.insert("FeatureVectorizer", features::feature_vectorizer);
    register.insert("Imputer", features::imputer);
    register.insert("LabelEncoder", encoders::label_encoder);
    register.insert("LinearClassifier", linear::classifier);
    register.insert("LinearRegressor", linear::regressor);
    register.insert("Normalizer", features::normalizer);
    register.insert("OneHotEncoder", encoders::one_hot_encoder);
    register.insert("SVMClassifier", svm::classifier);
    register.insert("SVMRegressor", svm::regressor);
    register.insert("Scaler", features::scaler);
    register.insert("TreeEnsemble", trees::ensemble);
    register.insert("TreeEnsembleClassifier", trees::classifier);
    register.insert("TreeEnsembleRegressor", trees::regressor);
    register.insert("ZipMap", labels::refuse_map);
}
