//! What prepares features, and the encoders of integers.

use leeway_contract::{DType, Tensor};
use leeway_tests::onnx::{Attribute, FLOAT, Graph, INT64};
use leeway_tests::random::Random;

use super::{assert_close, check_fuel, dims, floats, integers, matrix, native, pair, run};

/// The output of one node on one input, whose fuel is checked as well.
fn one(operator: &str, input: Tensor, attributes: &[(&str, Attribute)]) -> Tensor {
    let mut graph = Graph::new();
    let dtype = if input.dtype == DType::I64 { INT64 } else { FLOAT };
    let shape: Vec<usize> = input.shape.iter().map(|&size| size as usize).collect();
    graph.input("x", dtype, &dims(&shape));
    graph.classical(operator, &["x"], &["y"], attributes);
    let mut pair = pair(&native(), operator, graph, &["y"]);
    let output = run(&mut pair, &[input]).remove(0);
    check_fuel(&mut pair, &mut Random::new(100));
    output
}

fn ints(shape: &[u32], numbers: &[i64]) -> Tensor {
    let data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Tensor { dtype: DType::I64, shape: shape.to_vec(), data }
}

#[test]
fn a_scaler_centres_and_scales() {
    let attributes = [
        ("offset", Attribute::Floats(&[1.0, -2.0, 0.5])),
        ("scale", Attribute::Floats(&[2.0, 0.5, -1.0])),
    ];
    let seen = one("Scaler", matrix(2, &[1.0, 2.0, 3.0, 0.0, 0.0, 0.0]), &attributes);
    assert_eq!(floats(&seen), [0.0, 2.0, -2.5, -2.0, 1.0, 0.5]);
    let attributes = [("offset", Attribute::Floats(&[1.0])), ("scale", Attribute::Floats(&[4.0]))];
    let seen = one("Scaler", ints(&[1, 2], &[1, 3]), &attributes);
    assert_eq!(floats(&seen), [0.0, 8.0]);
}

#[test]
fn a_normalizer_leaves_rows_of_zeros() {
    let x = [3.0, -4.0, 0.0, 0.0, 0.5, 0.25];
    for (norm, wanted) in [
        ("MAX", [1.0, -4.0 / 3.0, 0.0, 0.0, 1.0, 0.5]),
        ("L1", [3.0 / 7.0, -4.0 / 7.0, 0.0, 0.0, 2.0 / 3.0, 1.0 / 3.0]),
        ("L2", [0.6, -0.8, 0.0, 0.0, 0.8944272, 0.4472136]),
    ] {
        let seen = one("Normalizer", matrix(3, &x), &[("norm", Attribute::String(norm))]);
        assert_close(&floats(&seen), &wanted, 1e-6, norm);
    }
}

#[test]
fn a_binarizer_and_imputers() {
    let x = [0.5, f32::NAN, 1.0, -3.0];
    let seen = one("Binarizer", matrix(2, &x), &[("threshold", Attribute::Float(0.5))]);
    assert_eq!(floats(&seen), [0.0, 0.0, 1.0, 0.0]);

    let attributes = [
        ("replaced_value_float", Attribute::Float(f32::NAN)),
        ("imputed_value_floats", Attribute::Floats(&[10.0, 20.0])),
    ];
    let seen = one("Imputer", matrix(2, &x), &attributes);
    assert_eq!(floats(&seen), [0.5, 20.0, 1.0, -3.0]);

    let attributes = [
        ("replaced_value_int64", Attribute::Int(-1)),
        ("imputed_value_int64s", Attribute::Ints(&[7])),
    ];
    let seen = one("Imputer", ints(&[1, 3], &[-1, 1, 1 << 40]), &attributes);
    assert_eq!(integers(&seen), [7, 1, 1 << 40]);
}

#[test]
fn features_are_put_beside_each_other_and_taken_out() {
    let mut graph = Graph::new();
    graph.input("x", FLOAT, &dims(&[2, 3]));
    graph.input("n", INT64, &dims(&[2, 1]));
    let indices = graph.ints(&[3, 0]);
    let sizes = [("inputdimensions", Attribute::Ints(&[3, 1]))];
    graph.classical("FeatureVectorizer", &["x", "n"], &["all"], &sizes);
    graph.classical("ArrayFeatureExtractor", &["all", &indices], &["some"], &[]);
    let mut pair = pair(&native(), "features", graph, &["all", "some"]);
    let inputs = [matrix(2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), ints(&[2, 1], &[10, 20])];
    let seen = run(&mut pair, &inputs);
    assert_eq!(floats(&seen[0]), [1.0, 2.0, 3.0, 10.0, 4.0, 5.0, 6.0, 20.0]);
    assert_eq!((floats(&seen[1]), &*seen[1].shape), (vec![10.0, 1.0, 20.0, 4.0], &[2, 2][..]));
    check_fuel(&mut pair, &mut Random::new(101));
}

#[test]
fn label_encoders_of_integers_and_floats() {
    // Keys next to each other, keys far apart, and a key twice, of which the last counts.
    for keys in [[1i64, 2, 5, 2], [1, 1 << 40, -(1 << 50), 1 << 40]] {
        let attributes = [
            ("keys_int64s", Attribute::Ints(&keys)),
            ("values_floats", Attribute::Floats(&[1.5, 2.5, 3.5, 4.5])),
            ("default_float", Attribute::Float(-1.0)),
        ];
        let x = [keys[0], keys[1], keys[2], 3, i64::MIN, i64::MAX];
        let seen = one("LabelEncoder", ints(&[2, 3], &x), &attributes);
        assert_eq!(floats(&seen), [1.5, 4.5, 3.5, -1.0, -1.0, -1.0]);
    }
    let attributes = [
        ("keys_floats", Attribute::Floats(&[0.5, f32::NAN])),
        ("values_int64s", Attribute::Ints(&[5, 6])),
    ];
    let seen = one("LabelEncoder", matrix(1, &[f32::NAN, 0.5, 0.25]), &attributes);
    assert_eq!(integers(&seen), [6, 5, -1]);
}

#[test]
fn a_one_hot_encoder_gives_zeros_for_what_it_does_not_know() {
    let attributes = [("cats_int64s", Attribute::Ints(&[4, -1])), ("zeros", Attribute::Int(0))];
    let seen = one("OneHotEncoder", ints(&[1, 3], &[4, 7, -1]), &attributes);
    assert_eq!(seen.shape, [1, 3, 2]);
    assert_eq!(floats(&seen), [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
}
