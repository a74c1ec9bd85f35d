"""The AsyncAPI document, as AsyncAPI's own parser reads it; needs Node and npm's registry."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PARSER = "@asyncapi/parser@3.6.6"
CHECK = """
import { Parser, fromFile } from '@asyncapi/parser';
const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
const errors = diagnostics.filter((one) => one.severity === 0).map((one) => one.message);
console.log(JSON.stringify({ errors, read: document !== undefined }));
"""


@pytest.mark.long
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
@pytest.mark.parametrize("spoilt", [False, True])
def test_the_parser_finds_no_error_in_it(tmp_path: Path, spoilt: bool) -> None:
    """And finds one where a reference leads nowhere."""
    text = (TOP / "docs/dvr.asyncapi.yaml").read_text(encoding="utf-8")
    document = tmp_path / "dvr.asyncapi.yaml"
    document.write_text(text.replace("schemas/Play'", "schemas/Plya'") if spoilt else text, encoding="utf-8")
    (tmp_path / "check.mjs").write_text(CHECK, encoding="utf-8")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", PARSER]
    subprocess.run(install, cwd=tmp_path, check=True)
    said = subprocess.run(
        ["node", "check.mjs", document.name], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    found = json.loads(said.stdout)
    assert bool(found["errors"]) is spoilt
    assert found["read"] is not spoilt
