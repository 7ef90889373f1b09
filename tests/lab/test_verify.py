"""The command `grassvp verify`: tables, JSON, exit status."""

import json

import pytest

from grassvp.theory.claims import regularized
from grassvp.theory.claims.claim import Claim
from grassvp.theory.verification import CLAIMS


def test_claims_as_one_object(command):
    code, out, err = command("verify", "--claims", "B5,B6", "--seed", "2", "--json")
    result = json.loads(out, parse_constant=pytest.fail)
    assert (code, err) == (0, "")
    assert set(result) == {"claims", "passed", "failed"}
    assert result["failed"] == 0 and result["passed"] == len(result["claims"]) > 5
    fields = {"name", "statement", "predicted", "measured", "error", "tolerance", "passed"}
    assert all(set(claim) == fields and claim["name"][:2] in ("B5", "B6") for claim in result["claims"])


def test_claims_as_lines(command):
    code, out, _ = command("verify", "--claims", "B5")
    lines = out.splitlines()
    assert code == 0 and lines[0].split()[:2] == ["claim", "statement"]
    assert [line.split()[-1] for line in lines[1:-1]] == ["ok", "ok"] and lines[-1] == "2 of 2 claims hold"


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_a_failing_claim_is_exit_status_1(command, monkeypatch, json_flag):
    failing = Claim("B5 bound", "spoiled", 1.0, 2.0, 0.5, 1e-12)
    monkeypatch.setitem(CLAIMS, "B5", (lambda rng: iter([failing]),))
    code, out, _ = command("verify", "--claims", "B5", *json_flag)
    assert code == 1
    assert ('"failed": 1' in out) if json_flag else ("FAILED" in out)


def test_an_interrupt_shows_what_was_checked(command, monkeypatch):
    def interrupted(rng):
        yield from regularized.b5(rng)
        raise KeyboardInterrupt

    monkeypatch.setitem(CLAIMS, "B5", (interrupted,))
    code, out, err = command("verify", "--claims", "B5", "--json")
    assert code == 130 and json.loads(out)["passed"] == 2 and "interrupted after 2 claims" in err


@pytest.mark.parametrize("words", [["--claims", "Z1"], ["--claims", ""], ["--seed", "-1"], ["--seed", "x"], ["--nope"]])
def test_bad_options_are_exit_status_2(command, words):
    code, out, err = command("verify", *words)
    assert (code, out) == (2, "") and err
