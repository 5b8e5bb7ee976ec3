//! The embedded files fit each other and their description.

use leeway_contract::{DType, Tensor};

use super::*;

/// Element type, shape of one input, and number of classes by data set.
fn expected(dataset: &str, architecture: &str) -> (DType, Vec<u32>, usize) {
    match (dataset, architecture) {
        ("digits", _) => (DType::U8, vec![1, 1, 28, 28], 10),
        ("breast-cancer", "mlp") => (DType::F32, vec![1, 30], 2),
        ("breast-cancer", "cnn") => (DType::F32, vec![1, 1, 30], 2),
        other => panic!("a model that the tests do not know: {other:?}"),
    }
}

fn argmax(row: &[f32]) -> usize {
    Tensor::from_f32(&[row.len() as u32], row).argmax().unwrap()
}

#[test]
fn there_are_the_four_models_of_the_talk() {
    let names: Vec<&str> = reference_models().iter().map(|m| m.name).collect();
    assert_eq!(names, ["mlp-digits", "cnn-digits", "mlp-tabular", "cnn-tabular"]);
    assert!(reference_model("cnn-digits").is_some() && reference_model("cnn").is_none());
}

#[test]
fn every_onnx_file_is_the_one_that_is_described() {
    for model in reference_models() {
        assert!(model.is_as_described(), "{}", model.name);
    }
}

#[test]
fn shapes_types_and_labels_fit_the_models() {
    for model in reference_models() {
        let (dtype, shape, classes) = expected(&model.dataset, &model.architecture);
        assert_eq!(model.labels.len(), classes, "{}", model.name);
        for data in [model.validation().unwrap(), model.test().unwrap()] {
            assert!(data.len() > 100 && data.labels.len() == data.len());
            assert!(data.labels.iter().all(|&label| label < classes));
            let elements: u32 = shape.iter().product();
            for input in &data.inputs {
                assert_eq!((input.dtype, &input.shape), (dtype, &shape), "{}", model.name);
                assert_eq!(input.data.len(), elements as usize * dtype.size_bytes());
            }
        }
    }
}

#[test]
fn the_probabilities_sum_to_one_and_give_the_described_accuracy() {
    for model in reference_models() {
        assert!(model.validation().unwrap().probabilities.is_none());
        let data = model.test().unwrap();
        let rows = data.probabilities.as_ref().unwrap();
        for row in rows {
            assert_eq!(row.len(), model.labels.len());
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        let right = rows.iter().zip(&data.labels).filter(|(row, label)| argmax(row) == **label);
        let accuracy = right.count() as f64 / data.len() as f64;
        assert!((accuracy - model.test_accuracy).abs() < 1e-6, "{}: {accuracy}", model.name);
    }
}

#[test]
fn validation_and_test_share_no_sample() {
    for model in reference_models() {
        let validation = model.validation().unwrap();
        for input in &model.test().unwrap().inputs {
            assert!(!validation.inputs.contains(input), "{}", model.name);
        }
    }
}
