//! Those who do everything right: clients that compare answers to the bit, and one that
//! changes what a name stands for.

use std::time::Duration;

use leeway_contract::Certificate;
use leeway_protocol::{ClientRequest, Encoded, HEADER_LENGTH};
use serde_json::json;
use ureq::Agent;

use crate::{Model, Soak, count};

/// A pause between two swaps.
const PAUSE: Duration = Duration::from_millis(20);

/// A client that keeps its connections.
pub(crate) fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false);
    config.timeout_global(Some(Duration::from_secs(30))).build().into()
}

/// Pushes both modules.
pub(crate) fn push(soak: &Soak) {
    let agent = agent();
    for model in &soak.models {
        let url = format!("http://{}/v1/modules/{}", soak.http, model.digest);
        assert_eq!(agent.put(url).send(&model.component).unwrap().status(), 201);
        swap(soak, &agent, model, "1");
        swap(soak, &agent, model, "2");
    }
}

fn swap(soak: &Soak, agent: &Agent, model: &Model, version: &str) {
    let url = format!("http://{}/v1/models/m/versions/{version}", soak.http);
    let body = json!({ "digest": model.digest }).to_string();
    match agent.put(url).send(body) {
        Ok(response) if response.status() == 200 => count(&soak.seen.swaps),
        other => soak.wrong(format!("a swap: {other:?}")),
    }
}

/// Makes the name stand for one module and then the other, and has modules unloaded and
/// loaded again.
pub(crate) fn keep_swapping(soak: &Soak) {
    let agent = agent();
    for turn in 0.. {
        if !soak.goes_on() {
            return;
        }
        swap(soak, &agent, &soak.models[turn % 2], "1");
        if turn % 16 == 0 {
            let url = format!("http://{}/v1/models/other/versions/1", soak.http);
            let body = json!({ "digest": soak.models[0].digest }).to_string();
            let paths = ["unload", "load"];
            let paths =
                paths.map(|to| format!("http://{}/v2/repository/models/other/{to}", soak.http));
            let made = agent.put(url).send(body).map(|response| response.status());
            let asked = paths.map(|url| agent.post(url).send_empty().map(|r| r.status()));
            for status in [made].into_iter().chain(asked) {
                match status {
                    Ok(status) if status == 200 => {}
                    other => soak.wrong(format!("loading and unloading: {other:?}")),
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Asks by name and by digest, and compares the bits of the answers.
pub(crate) fn keep_asking(soak: &Soak, seed: usize) {
    let mut agent = agent();
    let mut turn = seed;
    while soak.goes_on() {
        ask(soak, &mut agent, turn);
        turn += 1;
    }
}

/// One inference, by digest or by name. Which module a name stands for, the answer says:
/// both take the same inputs.
pub(crate) fn ask(soak: &Soak, agent: &mut Agent, turn: usize) {
    let model = &soak.models[turn % 2];
    let (inputs, _) = &model.pairs[turn / 2 % model.pairs.len()];
    let name = if turn.is_multiple_of(3) { model.digest.to_string() } else { "m".to_owned() };
    let certificate: &Certificate = &model.certificate;
    let stages = 0..=certificate.last_stage();
    // The stages of the other module may be more or fewer.
    let request = ClientRequest { id: turn as u64, certificate, stages, inputs, timeout: None };
    let Encoded { mut body, mut head_bytes } = request.encode().expect("the inputs fit");
    if name == "m" {
        (body, head_bytes) = without_stages(&body, head_bytes);
    }
    let url = format!("http://{}/v2/models/{name}/infer", soak.http);
    let length = head_bytes.unwrap_or_default().to_string();
    let send = |agent: &Agent| agent.post(&url).header(HEADER_LENGTH, &length).send(&body);
    // The host closes connections that idle, and this client may have slept for so long:
    // then it asks once more, on a new one.
    let answer = send(agent).or_else(|_| {
        *agent = self::agent();
        send(agent)
    });
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => return soak.wrong(format!("no answer: {error}")),
    };
    let status = answer.status().as_u16();
    let head_bytes = answer.headers().get(HEADER_LENGTH);
    let head_bytes = head_bytes.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let body = answer.body_mut().read_to_vec().unwrap_or_default();
    let (200, Some(head_bytes)) = (status, head_bytes) else {
        // Too much at once is an answer, too.
        if matches!(status, 429 | 503 | 504) {
            return count(&soak.seen.refusals);
        }
        return soak.wrong(format!("status {status}: {}", String::from_utf8_lossy(&body)));
    };
    let decoded = match request.decode(&body, head_bytes) {
        Ok(decoded) => decoded,
        Err(error) => return soak.wrong(error.to_string()),
    };
    let answering = soak.model(decoded.digest).expect("one of the two");
    let pair = answering.pairs.iter().find(|(other, _)| other == inputs);
    let wanted = pair.map(|(_, outputs)| outputs);
    let fuel = answering.certificate.total_fuel();
    if wanted != Some(&decoded.outputs) || decoded.fuel != fuel || decoded.id != Some(turn as u64) {
        return soak.wrong(format!("{decoded:?}, wanted {wanted:?} and {fuel}"));
    }
    count(&soak.seen.answers);
}

/// The request for all stages, however many there are.
fn without_stages(body: &[u8], head_bytes: Option<usize>) -> (Vec<u8>, Option<usize>) {
    let (head, data) = body.split_at(head_bytes.expect("a client sends binary data"));
    let mut head: serde_json::Value = serde_json::from_slice(head).expect("it is JSON");
    let parameters = head["parameters"].as_object_mut().expect("an object");
    parameters.remove("first_stage");
    parameters.remove("last_stage");
    let mut body = head.to_string().into_bytes();
    let length = body.len();
    body.extend_from_slice(data);
    (body, Some(length))
}
