"""What `engine build` is to the station: progress on stdout, an engine in the store, the proof as its last word."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from edge_inspector.engine import passport
from edge_inspector.engine.fingerprint import Fingerprint
from edge_inspector.engine.passport import FileSum, Passport, Proof
from edge_inspector.engine.store import EngineStore


def say(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def main() -> int:
    told = json.loads(sys.argv[1])
    say({"progress": 0.1, "text": "begun"})
    Path(told["begun"]).touch()
    while told["wait_for"] and not Path(told["wait_for"]).exists():
        time.sleep(0.01)
    os.write(sys.stdout.fileno(), bytes.fromhex(told["says"]))
    say({"progress": 0.6, "text": "half and more"})
    if told["dies"]:
        sys.stderr.write(told["dies"])
        return 1
    facts, proof = Fingerprint(told["facts"]), Proof.model_validate(told["proof"])
    store = EngineStore(Path(told["store"]))
    plan = b"a plan"
    with store.building(facts) as folder:
        (folder / "model.plan").write_bytes(plan)
        made = Passport(
            schema=1,
            digest=facts.digest,
            facts=dict(facts.facts),
            bundle="little-yolo",
            version="1",
            built_utc=told["built_utc"],
            build_s=1.0,
            files={"model.plan": FileSum(sha256=hashlib.sha256(plan).hexdigest(), size=len(plan))},
            proof=proof,
        )
        (folder / passport.FILE).write_bytes(made.to_json())
    say({"engine": facts.digest, "outcome": proof.outcome, "proof": proof.model_dump(mode="json")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
