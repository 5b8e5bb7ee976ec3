//! Maps and strings, which a component does not have.

use leeway_compiler::{Options, compile};
use leeway_tests::compare::Pair;
use leeway_tests::forests::{Forest, Shape};
use leeway_tests::onnx::{Attribute, FLOAT, Graph, INT64};
use leeway_tests::random::Random;

use super::{argmax, dims, floats, integers, matrix, native, run};

fn options() -> Options {
    Options { name: "test".into(), file: "test.onnx".into(), ..Options::default() }
}

fn refusal(graph: Graph, outputs: &[&str]) -> String {
    match compile(&graph.finish(outputs), &options()) {
        Ok(_) => panic!("it compiles"),
        Err(error) => error.to_string(),
    }
}

/// A forest with the labels `a`, `b`, `c` and a map of its probabilities, as
/// exporters put it there.
fn with_a_map(random: &mut Random) -> (Forest, Graph) {
    let forest = Forest::random(random, &Shape::complete(4, 3, 2, 3));
    let mut graph = Graph::new();
    graph.input("x", FLOAT, &dims(&[5, 2]));
    let names = || Attribute::Strings(&["a", "b", "c"]);
    let outputs = ["label", "probabilities"];
    let more = vec![("classlabels_strings", names())];
    forest.add(&mut graph, "TreeEnsembleClassifier", "x", &outputs, more);
    let map = [("classlabels_strings", names())];
    graph.classical("ZipMap", &["probabilities"], &["map"], &map);
    (forest, graph)
}

#[test]
fn a_label_is_its_index_and_a_map_its_tensor() {
    let mut random = Random::new(110);
    let (forest, graph) = with_a_map(&mut random);
    let mut pair = Pair::new(&native(), &graph.finish(&["label", "map"]), &options());
    let certificate = pair.module.certificate().clone();
    assert_eq!(certificate.labels.as_deref(), Some(&["a", "b", "c"].map(String::from)[..]));
    assert_eq!(certificate.outputs()[1].name, "map");
    let x = random.numbers(10);
    let seen = run(&mut pair, &[matrix(5, &x)]);
    let scores: Vec<Vec<f32>> = x.chunks_exact(2).map(|row| forest.scores(row, "SUM")).collect();
    assert_eq!(floats(&seen[1]), scores.concat());
    let best = |scores: &Vec<f32>| argmax(&scores.iter().map(|&s| s.into()).collect::<Vec<_>>());
    assert_eq!(integers(&seen[0]), scores.iter().map(|s| best(s) as i64).collect::<Vec<_>>());
}

#[test]
fn names_given_when_compiling_count_more() {
    let (_, graph) = with_a_map(&mut Random::new(111));
    let names = ["one", "two", "three"].map(String::from).to_vec();
    let options = Options { labels: Some(names.clone()), ..options() };
    let compiled = compile(&graph.finish(&["label", "map"]), &options).expect("it compiles");
    assert_eq!(compiled.certificate().labels, Some(names));
}

#[test]
fn strings_that_are_only_picked_are_indices() {
    let mut graph = Graph::new();
    graph.input("x", INT64, &dims(&[3]));
    let names = graph.strings(&["yes", "no", "yes"]);
    graph.classical("ArrayFeatureExtractor", &[&names, "x"], &["label"], &[]);
    let mut pair = Pair::new(&native(), &graph.finish(&["label"]), &options());
    let labels = pair.module.certificate().labels.clone();
    assert_eq!(labels, Some(vec!["yes".to_owned(), "no".to_owned()]));
    let data = [2i64, 1, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
    let input =
        leeway_contract::Tensor { dtype: leeway_contract::DType::I64, shape: vec![3], data };
    assert_eq!(integers(&run(&mut pair, &[input])[0]), [0, 1, 0]);
}

#[test]
fn a_map_that_is_read_is_refused_with_the_way_out() {
    let (_, mut graph) = with_a_map(&mut Random::new(112));
    graph.classical("DictVectorizer", &["map"], &["y"], &[]);
    let message = refusal(graph, &["y"]);
    assert!(message.contains("zipmap=False") && message.contains("(ZipMap)"), "{message}");
}

#[test]
fn strings_as_keys_are_refused() {
    let mut graph = Graph::new();
    graph.input("x", INT64, &dims(&[1, 3]));
    let attributes = [
        ("keys_strings", Attribute::Strings(&["a", "b"])),
        ("values_int64s", Attribute::Ints(&[0, 1])),
    ];
    graph.classical("LabelEncoder", &["x"], &["y"], &attributes);
    let message = refusal(graph, &["y"]);
    assert!(message.contains("keys_strings") && message.contains("integers"), "{message}");
}

#[test]
fn two_lists_of_names_are_refused() {
    let (_, mut graph) = with_a_map(&mut Random::new(113));
    graph.input("n", INT64, &dims(&[1]));
    let names = graph.strings(&["yes", "no"]);
    graph.classical("ArrayFeatureExtractor", &[&names, "n"], &["other"], &[]);
    let message = refusal(graph, &["label", "other"]);
    assert!(message.contains("\"yes\"") && message.contains("\"a\""), "{message}");
}
