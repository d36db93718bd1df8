"""A small server that speaks the protocol of the Hugging Face Hub.

    python -m tests.weights.hub_server PORT_FILE

What is pushed is kept in memory. `POST /faults` makes coming answers go wrong,
see `FAULTS`; `GET /requests` tells what was asked for.
"""

import asyncio
import base64
import hashlib
import json
import socket
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.responses import Response
from starlette.responses import StreamingResponse
from starlette.routing import Route

FAULTS = {
    "cut": "the connection closes in the middle of the file",
    "truncated": "half of the file, announced as if it were all",
    "wrong_bytes": "a file of the right length with another content",
    "missing": "404",
    "broken": "500",
    "stalled": "nothing comes after the first half",
    "slow": "the second half takes seconds",
    "huge": "an announced length of 10 GB",
    "escaping_etag": "an ETag that is a path out of the cache",
    "escaping_commit": "a commit that is a path out of the cache",
}
TOKENS = {"writer": "write", "reader": "read"}
LARGE = ".h5"  # the names of files that the Hub stores elsewhere
STALL, SLOW = 30, 3  # seconds

repositories = {}  # name -> {commit: {path: bytes}}, in order
faults = []  # dictionaries of fault, method, file, after and times
requests = []


def error(status, code):
    return JSONResponse({"error": code}, status, headers={"X-Error-Code": code})


def role(request):
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    return TOKENS.get(token)


def name_of(request):
    return "{organization}/{name}".format(**request.path_params)


def snapshot(request):
    """Return the commit and the files that a request is about, or an error."""
    commits = repositories.get(name_of(request))
    if commits is None:
        return None, None, error(404, "RepoNotFound")
    revision = request.path_params.get("revision", "main")
    commit = list(commits)[-1] if revision == "main" else revision
    if commit not in commits:
        return None, None, error(404, "RevisionNotFound")
    return commit, commits[commit], None


async def whoami(request):
    if role(request) is None:
        return error(401, "Unauthorized")
    return JSONResponse(
        {
            "name": "tester",
            "type": "user",
            "auth": {"accessToken": {"role": role(request)}},
        }
    )


async def create(request):
    if role(request) != "write":
        return error(403, "Forbidden")
    wanted = await request.json()
    name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
    requests.append(f"create {name} {wanted.get('visibility')}")
    url = f"{request.base_url}{name}"
    if name in repositories:
        return JSONResponse({"error": "exists", "url": url}, 409)
    repositories[name] = {hashlib.sha1(name.encode()).hexdigest(): {}}
    return JSONResponse({"url": url})


async def validate_yaml(request):
    return JSONResponse({"errors": [], "warnings": []})


def git_hash(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


async def preupload(request):
    _, files, problem = snapshot(request)
    if problem:
        return problem
    wanted = (await request.json())["files"]
    answers = [
        {
            "path": file["path"],
            "uploadMode": "regular",
            "shouldIgnore": False,
            "oid": git_hash(files[file["path"]])
            if file["path"] in files
            else None,
        }
        for file in wanted
    ]
    return JSONResponse({"files": answers})


async def commit(request):
    if role(request) != "write":
        return error(403, "Forbidden")
    parent, files, problem = snapshot(request)
    if problem:
        return problem
    files = dict(files)
    body = await request.body()
    for line in map(json.loads, body.splitlines()):
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "deletedFile":
            del files[value["path"]]
    new = hashlib.sha1(parent.encode() + body).hexdigest()
    repositories[name_of(request)][new] = files
    url = f"{request.base_url}{name_of(request)}/commit/{new}"
    return JSONResponse({"commitUrl": url, "commitOid": new})


async def info(request):
    commit, files, problem = snapshot(request)
    if problem:
        return problem
    siblings = [{"rfilename": path} for path in files]
    return JSONResponse(
        {"id": name_of(request), "sha": commit, "siblings": siblings}
    )


async def tree(request):
    _, files, problem = snapshot(request)
    return problem or JSONResponse(
        [
            {
                "type": "file",
                "path": path,
                "size": len(content),
                "oid": git_hash(content),
            }
            for path, content in files.items()
        ]
    )


def next_fault(method, path):
    for fault in faults:
        if fault["method"] == method and fault["file"] == path:
            if fault["after"] > 0:
                fault["after"] -= 1
                return None
            fault["times"] -= 1
            if fault["times"] == 0:
                faults.remove(fault)
            return fault["fault"]
    return None


async def resolve(request):
    path = request.path_params["path"]
    requests.append(f"{request.method} {path}")
    fault = next_fault(request.method, path)
    if fault == "broken":
        return error(500, "Broken")
    commit, files, problem = snapshot(request)
    if problem:
        return problem
    if path not in files or fault == "missing":
        return error(404, "EntryNotFound")
    content = files[path]
    headers = {"X-Repo-Commit": commit, "ETag": f'"{git_hash(content)}"'}
    if path.endswith(LARGE):
        # As the Hub does: the content is elsewhere, known by its sha256.
        headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        headers["X-Linked-Etag"] = headers["ETag"]
    if fault == "escaping_etag":
        etags = {"ETag", "X-Linked-Etag"} & headers.keys()
        headers |= dict.fromkeys(etags, '"../../../escaped"')
    if fault == "escaping_commit":
        headers["X-Repo-Commit"] = "../../../escaped"
    length = 10**10 if fault == "huge" else len(content)
    if request.method == "HEAD" and path.endswith(LARGE):
        headers["X-Linked-Size"] = str(length)
        headers["Location"] = str(request.url.replace(hostname="localhost"))
        return Response(None, 302, headers)
    if request.method == "HEAD":
        return Response(headers=headers | {"Content-Length": str(length)})
    return answer(content, fault, request.headers.get("range"), headers)


def answer(content, fault, wanted_range, headers):
    status = 200
    if wanted_range:
        start = int(wanted_range.removeprefix("bytes=").split("-")[0])
        headers["Content-Range"] = (
            f"bytes {start}-{len(content) - 1}/{len(content)}"
        )
        content, status = content[start:], 206
    half = len(content) // 2
    if fault == "wrong_bytes":
        content = (
            content[:half] + bytes([content[half] ^ 1]) + (content[half + 1 :])
        )
    if fault == "truncated":
        content = content[:half]

    async def body():
        yield content[:half]
        if fault == "cut":
            raise ConnectionResetError("cut, as asked for")
        await asyncio.sleep({"stalled": STALL, "slow": SLOW}.get(fault, 0))
        yield content[half:]

    headers["Content-Length"] = str(len(content))
    return StreamingResponse(body(), status, headers=headers)


async def add_fault(request):
    faults.append(await request.json())
    return JSONResponse({})


async def heal(request):
    faults.clear()
    return JSONResponse({})


async def told(request):
    answered = requests.copy()
    requests.clear()
    return JSONResponse(answered)


MODEL = "/api/models/{organization}/{name}"
app = Starlette(
    routes=[
        Route("/api/whoami-v2", whoami),
        Route("/api/repos/create", create, methods=["POST"]),
        Route("/api/validate-yaml", validate_yaml, methods=["POST"]),
        Route(f"{MODEL}/preupload/{{revision}}", preupload, methods=["POST"]),
        Route(f"{MODEL}/commit/{{revision}}", commit, methods=["POST"]),
        Route(MODEL, info),
        Route(f"{MODEL}/revision/{{revision}}", info),
        Route(f"{MODEL}/tree/{{revision}}", tree),
        Route("/faults", add_fault, methods=["POST"]),
        Route("/heal", heal, methods=["POST"]),
        Route("/requests", told),
        Route("/{organization}/{name}/resolve/{revision}/{path:path}", resolve),
    ]
)


def main(port_file):
    listening = socket.create_server(("127.0.0.1", 0))
    unfinished = Path(f"{port_file}.unfinished")
    unfinished.write_text(str(listening.getsockname()[1]))
    unfinished.rename(port_file)
    config = uvicorn.Config(app, log_level="critical")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(sys.argv[1])
