"""ONNX Runtime behind FastAPI, as the benchmark `serving` measures it.

    python fastapi_server.py FOLDER PORT

Every FOLDER/NAME.onnx is served under the Open Inference Protocol's paths. It is
made as fast as FastAPI goes on one core: no model of the request's type, orjson for
JSON both ways, uvloop and httptools beneath, one thread in ONNX Runtime, and the run
in the event loop itself.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

DTYPES = {"UINT8": np.uint8, "FP32": np.float32, "FP64": np.float64, "INT64": np.int64}


def load(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    sessions = {path.stem: load(path) for path in folder.glob("*.onnx")}
    app = FastAPI()

    @app.get("/v2/health/live")
    @app.get("/v2/models/{name}/ready")
    async def ready() -> dict:
        return {}

    @app.post("/v2/models/{name}/infer")
    async def infer(name: str, request: Request) -> Response:
        asked = orjson.loads(await request.body())
        inputs = {
            tensor["name"]: np.array(tensor["data"], DTYPES[tensor["datatype"]]).reshape(
                tensor["shape"]
            )
            for tensor in asked["inputs"]
        }
        session = sessions[name]
        values = session.run(None, inputs)
        outputs = [
            {"name": output.name, "datatype": "FP32", "shape": value.shape, "data": value.ravel()}
            for output, value in zip(session.get_outputs(), values)
        ]
        answer = {"model_name": name, "outputs": outputs}
        body = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(body, media_type="application/json")

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
