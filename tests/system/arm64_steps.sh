#!/usr/bin/env bash
# What tests/system/arm64.sh does inside the emulated machine; each step's outcome on a line of its own.
set -euo pipefail

readonly python=/opt/edge-inspector/current/bin/python

step() {
  local start=$SECONDS name=$1
  shift
  "$@" >/tmp/step.log 2>&1 || { cat /tmp/step.log; echo "arm64: $name FAILED"; exit 1; }
  tail -n 1 /tmp/step.log
  echo "arm64: $name: done in $((SECONDS - start)) s"
}

traces() { # of an installation, outside of /proc and the like
  find / -xdev \( -name '*edge[-_]inspector*' -o -user edge-inspector -o -nouser \) -not -path '/bundle*' -not -path '/root/*' 2>/dev/null
}

bundles() { # /tmp/little for the demo, because the demo's own network takes an emulated machine seconds a picture; /tmp/pcb-demo, with 6 of 48 pictures
  "$python" - <<'MAKE'
import json, pathlib, shutil, sys
sys.path.insert(0, "/root")
import edge_inspector, networks
networks.bundle("yolo", pathlib.Path("/tmp/little"), golden=2)
shutil.copytree(pathlib.Path(edge_inspector.__file__).parent / "bundles" / "pcb-demo", "/tmp/pcb-demo")
golden = pathlib.Path("/tmp/pcb-demo/golden")
coco = json.loads((golden / "annotations_coco.json").read_text())
coco["images"] = sorted(coco["images"], key=lambda image: image["file_name"])[::8]
kept = {image["id"] for image in coco["images"]}
coco["annotations"] = [found for found in coco["annotations"] if found["image_id"] in kept]
(golden / "annotations_coco.json").write_text(json.dumps(coco))
for picture in golden.glob("*.png"):
    if picture.name not in {image["file_name"] for image in coco["images"]}:
        picture.unlink()
print("golden pictures:", len(coco["images"]), "with defects:", len({found["image_id"] for found in coco["annotations"]}))
MAKE
}

demo() { # all must have counted the parts that were asked for, and judged them in time: the deadline is an emulated machine's
  edge-inspector demo --bundle /tmp/little --parts 5 --rate 0.05 --deadline-ms 60000 --report /tmp/report.json || return 1
  python3 - <<'CHECK'
import json, sys
report = json.load(open("/tmp/report.json"))
plc, mqtt, parts = report["plc"], report["mqtt"], report["parts"]
counts = [parts["triggered"], parts["accepted"], parts["settled"], plc["results_read"], plc["acknowledged"], mqtt["published"], mqtt["received"]]
print("demo:", parts, "balanced" if report["balanced"] else "NOT BALANCED")
sys.exit(0 if report["balanced"] and counts == [5] * 7 and parts["ok"] + parts["not_ok"] == 5 else json.dumps(report))
CHECK
}

echo "arm64: $(uname -m), $(python3 -VV), no network: $(ls /sys/class/net 2>/dev/null || echo lo)"
[ "$(uname -m)" = aarch64 ]
step "install.sh install" /bundle/install.sh install
step "install.sh install, once more" /bundle/install.sh install
cd /tmp
step "import of every module" "$python" /root/import_all.py
step "check of the example station" runuser -u edge-inspector -- edge-inspector check /etc/edge-inspector/demo/station.toml
step "devices" edge-inspector devices
step "two bundles" bundles
step "the demo's network judges six golden pictures" edge-inspector evaluate /tmp/pcb-demo \
  --truth /tmp/pcb-demo/golden/annotations_coco.json --images /tmp/pcb-demo/golden
step "demo with 5 parts" demo
step "install.sh uninstall --purge" /bundle/install.sh uninstall --purge
left=$(traces)
[ -z "$left" ] || { echo "arm64: uninstall left behind: $left"; exit 1; }
echo "arm64: all steps done"
