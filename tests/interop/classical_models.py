"""Models that scikit-learn fits to its bundled data, as skl2onnx exports them."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from skl2onnx import to_onnx
from sklearn import datasets
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, KBinsDiscretizer, MinMaxScaler, Normalizer
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

# What skl2onnx is tested with.
OPSETS = {"": 17, "ai.onnx.ml": 3}


@dataclass(frozen=True)
class Model:
    """A fitted model and rows of its data."""

    name: str
    onnx: onnx.ModelProto
    rows: np.ndarray
    # The names of its classes, where they are strings.
    classes: list[str] | None


def fits() -> Iterator[tuple[str, BaseEstimator, str]]:
    """An estimator and the data that it is fitted to."""
    seed = {"random_state": 0}
    yield "decision tree", DecisionTreeClassifier(**seed), "iris"
    yield "regression tree", DecisionTreeRegressor(max_depth=6, **seed), "diabetes"
    yield "forest", RandomForestClassifier(40, max_depth=8, **seed), "digits"
    yield "forest of names", RandomForestClassifier(10, **seed), "names"
    yield "regression forest", RandomForestRegressor(20, max_depth=8, **seed), "diabetes"
    yield "extra trees", ExtraTreesClassifier(20, **seed), "breast_cancer"
    yield "boosted trees", GradientBoostingClassifier(n_estimators=50, **seed), "breast_cancer"
    yield "boosted trees of 3", GradientBoostingClassifier(n_estimators=10, **seed), "iris"
    yield "boosted regression", GradientBoostingRegressor(n_estimators=50, **seed), "diabetes"
    yield "adaptive boosting", AdaBoostClassifier(n_estimators=5, **seed), "breast_cancer"
    yield "bagging", BaggingClassifier(n_estimators=4, **seed), "wine"
    yield "isolation forest", IsolationForest(n_estimators=5, **seed), "iris"
    yield "imputer and forest", (SimpleImputer(), RandomForestClassifier(5, **seed)), "iris"
    yield "linear regression", LinearRegression(), "diabetes"
    yield "logistic regression", (StandardScaler(), LogisticRegression()), "breast_cancer"
    yield "logistic of 3", LogisticRegression(max_iter=1000), "names"
    yield "discriminant", LinearDiscriminantAnalysis(), "wine"
    yield "gradient descent", (StandardScaler(), SGDClassifier(**seed)), "breast_cancer"
    yield "linear SVC", LinearSVC(), "iris"
    for kernel in ("linear", "poly", "rbf", "sigmoid"):
        yield f"SVC {kernel}", (StandardScaler(), SVC(kernel=kernel)), "wine"
        yield f"SVR {kernel}", (StandardScaler(), SVR(kernel=kernel)), "diabetes"
    yield "SVC of 2", (StandardScaler(), SVC()), "breast_cancer"
    yield "one-class SVM", OneClassSVM(), "iris"
    yield "components and SVC", (PCA(10), SVC()), "digits"
    network = MLPClassifier((20,), max_iter=60, **seed)
    yield "network", (StandardScaler(), network), "names"
    yield "network of 2", (StandardScaler(), network), "breast_cancer"
    yield "clusters", (StandardScaler(), KMeans(3, n_init=1, **seed)), "iris"
    yield "naive Bayes", GaussianNB(), "names"
    for scaler in (MinMaxScaler(), Normalizer("l1"), Normalizer("l2"), Binarizer(threshold=2.0)):
        name = f"{scaler.__class__.__name__} {getattr(scaler, 'norm', '')}".strip()
        yield f"{name} and logistic", (scaler, LogisticRegression(max_iter=1000)), "iris"
    bins = KBinsDiscretizer(3, encode="onehot-dense", strategy="uniform")
    yield "bins and logistic", (bins, LogisticRegression()), "iris"


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets. "names" is the data set iris with the names of its classes."""
    data = getattr(datasets, f"load_{'iris' if name == 'names' else name}")()
    target = data.target_names[data.target] if name == "names" else data.target
    return data.data.astype(np.float32), target


def all_models() -> Iterator[Model]:
    """All of them, fitted and exported."""
    for name, estimator, data in fits():
        if isinstance(estimator, tuple):
            estimator = make_pipeline(*estimator)
        features, target = load(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(features, target)
            exported = to_onnx(estimator, features[:1], target_opset=OPSETS)
        rows = features[:: len(features) // 12]
        classes = sorted(set(target)) if data == "names" else None
        yield Model(name, exported, rows, classes)
