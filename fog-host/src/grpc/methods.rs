//! What each method does.

use leeway_protocol::grpc::{
    ConfigResponse, Empty, IndexRequest, IndexResponse, InferRequest, InferResponse, Is,
    LoadRequest, MetadataResponse, ModelRequest, ServerMetadata, StatisticsResponse,
};

use tonic::Code;

use super::{Call, status};
use crate::error::HttpError;
use crate::host::Target;
use crate::inference::Inference;
use crate::traced::Traced;

/// An empty version is none.
fn version(version: &str) -> Option<&str> {
    Some(version).filter(|version| !version.is_empty())
}

impl Call {
    async fn target(&self, model: &ModelRequest) -> Result<Target, HttpError> {
        self.host.target(&model.name, version(&model.version)).await
    }

    /// Notes in the audit log what became of a change.
    fn audited(
        &self,
        action: &str,
        object: &str,
        done: Result<(), HttpError>,
    ) -> Result<Empty, HttpError> {
        if let Some(client) = &self.client {
            let audit = &self.host.audit;
            match &done {
                Ok(()) => audit.did(client, action, object),
                Err(error) => audit.refused(&client.name, action, object, error.message()),
            }
        }
        done.map(|()| Empty {})
    }
}

pub(super) async fn live(_: Call, _: Empty) -> Result<Is, HttpError> {
    Ok(Is { so: true })
}

pub(super) async fn ready(call: Call, _: Empty) -> Result<Is, HttpError> {
    Ok(Is { so: call.host.is_ready() })
}

pub(super) async fn server(call: Call, _: Empty) -> Result<ServerMetadata, HttpError> {
    Ok(call.host.metadata().into())
}

/// Whether a model is there and loads.
pub(super) async fn model_ready(call: Call, model: ModelRequest) -> Result<Is, HttpError> {
    match call.target(&model).await {
        Ok(_) => Ok(Is { so: true }),
        Err(error) if error.is_not_found() => Ok(Is { so: false }),
        Err(error) => Err(error),
    }
}

pub(super) async fn model(call: Call, model: ModelRequest) -> Result<MetadataResponse, HttpError> {
    let target = call.target(&model).await?;
    Ok(call.host.model_metadata(target).into())
}

pub(super) async fn config(call: Call, model: ModelRequest) -> Result<ConfigResponse, HttpError> {
    let target = call.target(&model).await?;
    Ok(ConfigResponse::new(target.name, target.module.certificate()))
}

pub(super) async fn statistics(
    call: Call,
    model: ModelRequest,
) -> Result<StatisticsResponse, HttpError> {
    if model.name.is_empty() {
        return Ok(call.host.all_statistics().into_iter().collect());
    }
    let target = call.target(&model).await?;
    let statistics = call.host.statistics(&target, version(&model.version).is_some());
    Ok(statistics.into_iter().collect())
}

pub(super) async fn index(call: Call, asked: IndexRequest) -> Result<IndexResponse, HttpError> {
    Ok(call.host.index(asked.ready).into_iter().collect())
}

pub(super) async fn load(call: Call, asked: LoadRequest) -> Result<Empty, HttpError> {
    let done = match asked.check() {
        Ok(()) => call.host.load(&asked.model_name).await,
        Err(wrong) => Err(HttpError::bad_request(wrong)),
    };
    call.audited("load", &asked.model_name, done)
}

pub(super) async fn unload(call: Call, asked: LoadRequest) -> Result<Empty, HttpError> {
    let done = call.host.unload(&asked.model_name);
    call.audited("unload", &asked.model_name, done)
}

/// Runs a range of a model's stages. Of the parameter `timeout` and the call's own, the
/// shorter counts.
pub(super) async fn infer(call: Call, message: InferRequest) -> Result<InferResponse, HttpError> {
    let Call { host, client, arrival, timeout, begun } = call;
    let client = client.ok_or_else(|| HttpError::internal("an inference without a client"))?;
    let target = host.target(&message.model_name, version(&message.model_version)).await?;
    let inference = Inference { host: &host, client: &client, target: &target, arrival };
    let decode = async {
        let mut request = message.into_request().map_err(HttpError::bad_request)?;
        if let Some(timeout) = timeout {
            request.shorten(timeout);
        }
        Ok(request)
    };
    let mut traced = host.traces.as_ref().zip(begun).map(|(to, begun)| Traced::new(to, begun));
    let encode = |answer: &leeway_protocol::Answer<'_>, request: &leeway_protocol::Request| {
        if let Some(traced) = &mut traced {
            traced.ran(answer);
        }
        answer.to_message(request).map_err(HttpError::bad_request)
    };
    let result = inference.answer(decode, encode).await;
    if let Some(traced) = traced {
        let code = result.as_ref().err().map_or(Code::Ok, |error| status::code(error.status()));
        traced.end(&target, ("rpc.grpc.status_code", code as u64), result.as_ref().err());
    }
    result
}
