//! The page is well-formed, loads nothing, and shows the study's numbers.

use super::super::synthetic;
use super::*;
use crate::study::{DecisionRow, Study};

/// The page as an XML document; panics where it is not well-formed.
fn parse(page: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    roxmltree::Document::parse_with_options(page, options).unwrap_or_else(|e| panic!("{e}"))
}

fn text_of(node: roxmltree::Node<'_, '_>) -> String {
    node.descendants().filter_map(|n| if n.is_text() { n.text() } else { None }).collect()
}

/// Studies from empty to large, and some that no experiment should produce.
fn studies() -> Vec<Study> {
    let by_hand = synthetic::by_hand;
    let with = |change: fn(&mut Study)| {
        let mut study = by_hand();
        change(&mut study);
        study
    };
    let each = |study: &mut Study, change: fn(&mut DecisionRow)| {
        study.decisions.iter_mut().for_each(change)
    };
    let mut extreme = by_hand();
    each(&mut extreme, |d| {
        (d.latency_ns, d.tl_ns, d.tf_ns) = (u64::MAX, Some(u64::MAX), Some(u64::MAX))
    });
    let mut zero = by_hand();
    each(&mut zero, |d| (d.latency_ns, d.tl_ns, d.tf_ns) = (0, Some(0), Some(0)));
    vec![
        synthetic::empty(),
        by_hand(),
        synthetic::study(7),
        extreme,
        zero,
        with(|s| s.decisions.clear()),
        with(|s| s.decisions.truncate(1)),
        with(|s| s.decisions.retain(|d| d.policy == "threshold")),
        with(|s| s.decisions.retain(|d| d.policy == "all-local")),
        with(|s| (s.models.clear(), s.links.clear(), s.policies.clear()).0),
        with(|s| s.models[0].calibration_ns.clear()),
        with(|s| (s.models[0].wcet_ns, s.models[0].deadline_ns) = (0, 0)),
        with(|s| s.models[0].calibration_ns = vec![5; 10]),
        with(|s| s.setup.elapsed_s = f64::NAN),
        with(|s| s.policies[2] = "<script>alert(1)</script> & \u{0}".into()),
        with(|s| s.decisions.iter_mut().for_each(|d| d.policy = "a\"b'<c>".into())),
    ]
}

#[test]
fn every_page_is_well_formed_and_free_of_nan() {
    for study in studies() {
        let page = html(&study);
        parse(&page);
        assert!(!page.contains("NaN") && !page.contains("inf "));
        assert!(!page.contains("<script"));
    }
}

#[test]
fn the_page_loads_nothing() {
    let page = html(&synthetic::study(5));
    let document = parse(&page);
    for node in document.descendants().filter(|n| n.is_element()) {
        let name = node.tag_name().name();
        assert!(
            !["script", "link", "img", "iframe", "object", "use", "image"].contains(&name),
            "{name}"
        );
        for attribute in node.attributes() {
            let (key, value) = (attribute.name(), attribute.value());
            assert!(!key.starts_with("on") && key != "src" && key != "srcset", "{key}={value}");
            // Only links that a reader follows: the files beside the page, the talk.
            let known = [
                "summary.csv",
                "decisions.csv",
                "study.json",
                "https://doi.org/10.1109/ISORC.2019.00022",
            ];
            assert!(key != "href" || (name == "a" && known.contains(&value)), "{value}");
        }
    }
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
}

#[test]
fn the_numbers_of_the_page_are_those_of_the_summary() {
    let page = html(&synthetic::by_hand());
    let document = parse(&page);
    let rows = document.descendants().filter(|n| n.has_tag_name("tr"));
    let row = rows.map(text_of).find(|t| t.starts_with("threshold4")).unwrap();
    assert_eq!(row, "threshold475.0 %75.0 %5.00 ms31.0 ms31.0 ms50.0 ms3.00 ms1.00 ms12.0 ms11");
    let heading = document.descendants().find(|n| n.has_tag_name("h1")).unwrap();
    let wanted = "The threshold policy matches or beats both fixed choices on 0 of 1 links";
    assert_eq!(text_of(heading), wanted);
}

#[test]
fn the_page_of_a_real_study_has_every_section_and_figure() {
    let page = html(&synthetic::study(5));
    let document = parse(&page);
    let headings: Vec<String> =
        document.descendants().filter(|n| n.has_tag_name("h2")).map(text_of).collect();
    assert_eq!(
        headings,
        [
            "Total time",
            "The decision",
            "Latency and the deadline",
            "Calibration",
            "All numbers",
            "What is emulated here, and what is real",
            "Setup",
            "Where it comes from"
        ]
    );
    // Five links, the threshold, the heat map, and two for each of four models.
    let figures = document.descendants().filter(|n| n.has_tag_name("svg"));
    assert_eq!(figures.count(), 5 + 1 + 1 + 2 * 4);
    for digest in synthetic::study(1).models.iter().map(|m| m.digest.clone()) {
        assert!(page.contains(&digest));
    }
}
