//! The parts of the page that explain: what is emulated, and where the idea comes
//! from.

use crate::study::Study;

use super::super::figures::escape;

fn list(items: &[String]) -> String {
    let lower = |text: &str| text.replace("T_L", "T<sub>L</sub>").replace("T_F", "T<sub>F</sub>");
    let item = |item: &String| format!("<li>{}</li>\n", lower(&escape(item)));
    let items: String = items.iter().map(item).collect();
    format!("<ul>\n{items}</ul>\n")
}

/// What the study makes up, and what it does for real.
pub(super) fn emulated(study: &Study) -> String {
    let setup = &study.setup;
    let pinned = match setup.device_cpu {
        Some(cpu) => format!("on CPU {cpu} of this machine, to which its thread is pinned"),
        None => "on this machine, without a CPU of its own".to_owned(),
    };
    let device = match &*setup.device_engine {
        "pulley" => format!(
            "The device's speed: its components run in the Pulley interpreter {pinned}, which is \
             about as slow as a small board and is what wasmtime uses on 32-bit ARM."
        ),
        engine => format!("The device: its components run with the {engine} engine {pinned}."),
    };
    let emulated = [
        device,
        "The link: a TCP relay in this machine that holds back every segment by the figures of the \
         link's profile: rate, delay, jitter, loss (as the time that TCP needs to send again) and \
         outages, drawn from the seed. Assumed figures are called so under Setup."
            .to_owned(),
        "Not part of the emulation: slow start, a radio medium that both directions share, the \
         radio's power states, other traffic."
            .to_owned(),
    ];
    let real = [
        "The fog host: its server answers over HTTP and executes in the sandbox that it always \
         uses, with native code, on this machine."
            .to_owned(),
        "The components: device and fog host execute the same bytes, named by their digest, and \
         count fuel."
            .to_owned(),
        "The inputs: samples of the models' test sets, which were held out from the training."
            .to_owned(),
        "The times: latencies and T_L are measured at the device, T_F at the fog host.".to_owned(),
    ];
    format!(
        "<section>\n<h2>What is emulated here, and what is real</h2>\n\
         <p>A slow device, a link and a fog host on one machine.</p>\n<div class=\"columns\">\n\
         <div class=\"card\">\n<h3>Emulated</h3>\n{}</div>\n\
         <div class=\"card\">\n<h3>Real</h3>\n{}</div>\n</div>\n</section>\n",
        list(&emulated),
        list(&real)
    )
}

/// The talk.
pub(super) fn source() -> String {
    "<section>\n<h2>Where it comes from</h2>\n\
     <p>The experiment repeats, with a sandbox and with deadlines, the one of this talk:</p>\n\
     <blockquote>D. Saguil and A. Azim, <cite>Time-efficient Offloading for Machine Learning Tasks \
     between Embedded Systems and Fog Nodes</cite>, ISORC 2019, \
     <a href=\"https://doi.org/10.1109/ISORC.2019.00022\">DOI 10.1109/ISORC.2019.00022</a>.\
     </blockquote>\n</section>\n"
        .to_owned()
}
