"""Publish weights on the Hugging Face Hub, one repository each.

    python -m zoo.publish ID... --namespace ORG

A repository gets, in one commit: the weights; `keras_attn.json`, the manifest
of this one weight, for `keras_attn.load("hf://ORG/NAME")`; Keras's own
`config.json`, for `keras.saving.load_model("hf://ORG/NAME")` after `import
keras_attn`; the model card with its pictures, the recipe and the history.
What has not changed makes no commit. The commit is then pinned in
`weights_manifest.json`.
"""

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import huggingface_hub
import keras
import typer
from huggingface_hub import errors

import keras_attn
from keras_attn.weights import files
from keras_attn.weights import hub
from keras_attn.weights import manifest
from zoo import cards
from zoo import json_files
from zoo import manifest_file
from zoo import recipe as recipes

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    ids: Annotated[list[str], typer.Argument(help="Published weights.")],
    namespace: Annotated[
        str, typer.Option(help="The user or organisation on the Hub.")
    ],
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="Make new repositories private. Default: what the namespace "
            "does with new ones.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would go up.")
    ] = False,
):
    """Publish weights on the Hugging Face Hub."""
    try:
        # An unknown id is to stop this before the first one goes up.
        entries = [manifest.entry(weight_id) for weight_id in ids]
        if not dry_run:
            check_token()
        for entry in entries:
            repository = f"{namespace}/{entry.id}"
            with tempfile.TemporaryDirectory() as folder:
                fill(Path(folder), entry, repository)
                if dry_run:
                    _show(Path(folder), repository)
                    continue
                with _clear_errors(repository):
                    commit = upload(Path(folder), repository, private)
            place = {"repository": repository, "revision": commit}
            manifest_file.change(entry.id, hub=place)
            print(f"hf://{repository}@{commit}")
    except (OSError, ValueError) as error:
        raise SystemExit(f"zoo.publish: {error}") from None


def check_token():
    """Raise unless there is a token that may write.

    Raises:
        PermissionError: if there is none, or one that may only read.
    """
    if huggingface_hub.get_token() is None:
        raise PermissionError(
            "there is no token: log in with `hf auth login`, or set HF_TOKEN"
        )
    with _clear_errors("your token"):
        user = huggingface_hub.whoami()
    role = user.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise PermissionError(
            "the token may only read: make one that may write, at "
            f"{huggingface_hub.constants.ENDPOINT}/settings/tokens"
        )


def fill(folder, entry, repository):
    """Write the files of a repository into an empty folder.

    Args:
        folder: Path.
        entry: The `keras_attn.weights.Entry` to publish.
        repository: String, `ORG/NAME`, for the model card.
    """
    shutil.copy(files.locate(entry), folder / hub.WEIGHTS)
    json_files.write(folder / hub.DESCRIPTION, _description(entry))
    _write_keras_config(folder, entry)
    shutil.copy(entry.training["history"], folder / "history.csv")
    recipe = recipes.of_command(entry.training["command"])
    json_files.write(folder / "recipe.json", recipe)
    shutil.copy(cards.CARDS / f"{entry.id}.curve.png", folder)
    attention = cards.CARDS / f"{entry.id}.attention.jpg"
    has_attention = attention.is_file()
    if has_attention:
        shutil.copy(attention, folder)
    text = cards.card(entry, has_attention, address=f"hf://{repository}")
    (folder / "README.md").write_text(text, "utf-8")


def _description(entry):
    """Return the manifest of one weight, as it is in the large one, but for
    its place on the Hub: a commit cannot hold its own name."""
    document = manifest_file.read()
    fields = manifest_file.fields_of(document, entry.id)
    names = fields["class_names"]
    return {
        "class_names": {names: document["class_names"][names]},
        "weights": [fields | {"hub": None}],
    }


def _write_keras_config(folder, entry):
    """Write what makes `keras.saving.load_model` accept the folder.

    As `model.save` does, but for what is new each time: a date, and the
    addresses of shared objects in memory.
    """
    model = keras_attn.load(entry.id).model
    config = keras.saving.serialize_keras_object(model)
    json_files.write(folder / "config.json", config)
    version = {"keras_version": keras.version()}
    json_files.write(folder / "metadata.json", version)


def upload(folder, repository, private=False):
    """Make a repository what a folder is, in one commit; return its hash.

    Args:
        folder: Path.
        repository: String, `ORG/NAME`, made where it is missing.
        private: Boolean, whether to make a new one private, or else what is
            the namespace's default.
    """
    api = huggingface_hub.HfApi(library_name="keras-attn")
    api.create_repo(repository, private=private or None, exist_ok=True)
    info = api.repo_info(repository)
    there = {file.rfilename for file in info.siblings} - {".gitattributes"}
    if there and hub.DESCRIPTION not in there:
        raise ValueError(
            f"{repository} holds files that are not of keras-attn: choose "
            "another --namespace, or empty it"
        )
    ours = {path.name: path for path in folder.iterdir()}
    operations = [
        huggingface_hub.CommitOperationAdd(name, path)
        for name, path in sorted(ours.items())
    ] + [
        huggingface_hub.CommitOperationDelete(name)
        for name in sorted(there - set(ours))
    ]
    return api.create_commit(
        repository,
        operations,
        commit_message=f"Published by keras-attn {keras_attn.__version__}",
        parent_commit=info.sha,
    ).oid


def _show(folder, repository):
    print(f"hf://{repository}")
    for path in sorted(folder.iterdir()):
        print(f"  {path.stat().st_size:>12,}  {path.name}")


@contextlib.contextmanager
def _clear_errors(what):
    try:
        yield
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        message = " ".join(str(error).split())
        if status in (401, 403):
            raise PermissionError(
                f"{what}: the Hub refuses the token ({status}). It must be "
                f"valid and may write to that namespace. {message[:300]}"
            ) from error
        raise ConnectionError(f"{what}: {message[:300]}") from error
    except (OSError, ValueError):
        raise
    except Exception as error:  # of the transports, of which there are several
        raise ConnectionError(
            f"{what}: {type(error).__name__}: {error}"
        ) from error


if __name__ == "__main__":
    app()
