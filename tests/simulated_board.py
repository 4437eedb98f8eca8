"""A Jetson board in a folder: /sys, nvpmodel's files, and stand-ins for nvpmodel and jetson_clocks with real faults.

The words are those of real boards (L4T 35 and 36). The faults are written into `faults`, one a line, and the tools look
there each time they are called.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

GPU = "sys/class/devfreq/17000000.gpu"
OVER_CURRENT = "sys/class/hwmon/hwmon3"
RAILS = "sys/class/hwmon/hwmon1"
MODES = ("15W", "25W", "MAXN_SUPER", "7W")
GPU_HZ = {"15W": 612_000_000, "25W": 918_000_000, "MAXN_SUPER": 1_020_000_000, "7W": 408_000_000}
CPU_KHZ = {"15W": 1_497_600, "25W": 1_344_000, "MAXN_SUPER": 1_728_000, "7W": 960_000}
CORES = {"7W": 4}
GATED = {"7W": "254"}
"""TPC_PG_MASK: 7W switches a part of the GPU off, which takes a reboot."""
_TABLE_HEAD = """# as on an Orin Nano
< PARAM TYPE=FILE NAME=CPU_ONLINE >
{cores}
< PARAM TYPE=FILE NAME=TPC_POWER_GATING >
TPC_PG_MASK /sys/class/devfreq/17000000.gpu/device/tpc_pg_mask
< PARAM TYPE=CLOCK NAME=CPU_A78_0 >
MAX_FREQ /sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq
MIN_FREQ /sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq
< PARAM TYPE=CLOCK NAME=GPU >
MAX_FREQ /sys/class/devfreq/17000000.gpu/max_freq
MIN_FREQ /sys/class/devfreq/17000000.gpu/min_freq
"""
_NVPMODEL = """#!{python} -IS
import os, re, sys, time
root = {root!r}
def read(path):
    with open(os.path.join(root, path)) as file:
        return file.read()
def write(path, text):
    with open(os.path.join(root, path), "w") as file:
        file.write(text)
table, faults = read("etc/nvpmodel.conf"), read("faults").split()
names = dict(re.findall(r"POWER_MODEL ID=(\\d+) NAME=(\\S+)", table))
status = "var/lib/nvpmodel/status"
now = str(int(re.search(r"pmode:(\\d+)", read(status))[1]))
def setting(mode, key):
    return re.search(r"ID=" + mode + r" .*?" + key + r" (-?\\d+)", table, re.S)[1]
write("calls", read("calls") + " ".join(["nvpmodel"] + sys.argv[1:]) + "\\n")
if sys.argv[1] == "-q":
    if "query-hangs" in faults:
        time.sleep(600)
    print("NV Power Mode: None" if "query-none" in faults else "NV Power Mode: %s\\n%s" % (names[now], now))
elif sys.argv[1] == "-p":
    for number, name in names.items():
        print("NVPM VERB: POWER_MODEL: ID=%s NAME=%s" % (number, name))
        print("NVPM VERB: TPC_POWER_GATING TPC_PG_MASK " + setting(number, "TPC_PG_MASK"))
    print("NVPM VERB: PM_CONFIG: DEFAULT=%s(0)" % names["0"])
elif sys.argv[1] == "-m":
    mode = sys.argv[2]
    if "hang" in faults:
        time.sleep(600)
    if "exit" in faults:
        print("NVPM ERROR: failed to write PARAM GPU: ARG MAX_FREQ: PATH " + root)
        sys.exit(255)
    if "reboot" in faults or setting(mode, "TPC_PG_MASK") != setting(now, "TPC_PG_MASK"):
        if "moves" in faults:
            write(status, "pmode:%04d fmode:quiet\\n" % int(mode))
        print("NVPM WARN: Golden image context is already created")
        print("NVPM WARN: Reboot required for changing to this power mode: " + mode)
        print("NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:", flush=True)
        if sys.stdin.readline().strip().lower() == "yes":
            write("rebooted", mode)
            sys.exit(0)
        print("NVPM ERROR: bad input!\\nNVPM ERROR: optMask is 1, no request for power mode")
        sys.exit(255)
    if "reverts" in faults:
        sys.exit(0)
    cpu, gpu = "sys/devices/system/cpu/cpufreq/policy0/scaling_", "sys/class/devfreq/17000000.gpu/"
    if read(cpu + "min_freq") == read(cpu + "max_freq"):
        print("NVPM ERROR: failed to write PARAM CPU_A78_0: ARG MAX_FREQ: the clocks are locked")
        sys.exit(255)
    write(status, "pmode:%04d fmode:quiet\\n" % int(mode))
    if "partly" in faults:
        print("NVPM ERROR: failed to write PARAM EMC: ARG MAX_FREQ")
        sys.exit(255)
    if "lies" not in faults:
        for core in range(6):
            write("sys/devices/system/cpu/cpu%d/online" % core, setting(mode, "CORE_%d" % core))
        write(cpu + "max_freq", setting(mode, "CPU_A78_0 MAX_FREQ"))
        write(gpu + "max_freq", setting(mode, "GPU MAX_FREQ"))
"""
_JETSON_CLOCKS = """#!{python} -IS
import os, sys, time
root = {root!r}
CPU, GPU = "sys/devices/system/cpu/cpufreq/policy0/scaling_", "sys/class/devfreq/17000000.gpu/"
SPANS = [CPU + "min_freq", CPU + "max_freq", GPU + "min_freq", GPU + "max_freq"]
def read(path):
    with open(os.path.join(root, path)) as file:
        return file.read()
def write(path, text):
    with open(os.path.join(root, path), "w") as file:
        file.write(text)
faults, action = read("faults").split(), sys.argv[1] if len(sys.argv) > 1 else ""
write("calls", read("calls") + " ".join(["jetson_clocks"] + sys.argv[1:]) + "\\n")
if "clocks-hang" in faults:
    time.sleep(600)
if "clocks-exit" in faults:
    print("Error: Unknown GPU Type!")
    sys.exit(1)
if action == "--show":
    clocks = [read(path).strip() for path in SPANS]
    print("cpu0: Online=1 Governor=schedutil MinFreq=%s MaxFreq=%s CurrentFreq=0" % tuple(clocks[:2]))
    print("GPU MinFreq=%s MaxFreq=%s CurrentFreq=0" % tuple(clocks[2:]))
elif action == "--store":
    if os.path.exists(sys.argv[2]):
        print("File %s already exists. Can I overwrite it? Y/N:" % sys.argv[2], flush=True)
        if sys.stdin.readline().strip().lower() != "y":
            print("Error: file %s already exists!" % sys.argv[2])
            sys.exit(1)
    print("Storing system configuration in " + sys.argv[2])
    with open(sys.argv[2], "w") as file:
        file.write("\\n".join(read(path) for path in SPANS))
elif action == "--restore":
    with open(sys.argv[2]) as file:
        for path, value in zip(SPANS, file.read().split()):
            write(path, value)
elif "clocks-lie" not in faults:
    write(SPANS[0], read(SPANS[1]))
    write(SPANS[2], read(SPANS[3]))
"""


class SimulatedBoard:
    """A board in 15W; `root` holds its files, `tools` goes onto PATH."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "board"
        self.tools = folder / "tools"
        self._write_files()
        self._write_tools()

    @property
    def mode(self) -> str:
        return MODES[int(self.read("var/lib/nvpmodel/status").split()[0].removeprefix("pmode:"))]

    @property
    def calls(self) -> list[str]:
        """How the tools were called, in order."""
        return self.read("calls").splitlines()

    @property
    def clocks(self) -> tuple[str, str]:
        """Lowest and highest clock of the GPU."""
        return self.read(f"{GPU}/min_freq"), self.read(f"{GPU}/max_freq")

    def fault(self, *names: str) -> None:
        """From now on, by name; no name: none.

        Of nvpmodel: hang, exit, reboot, query-hangs, query-none. Of jetson_clocks: clocks-hang, -exit and -lie.
        reverts: success is reported and nothing done. lies: the mode is reported and nothing is set; partly: and an
        error. moves, with reboot: the mode is reported all the same.
        """
        self.write("faults", "\n".join(names))

    def heat(self, device: str = "gpu-throttle-alert", state: int = 1) -> None:
        self.write("sys/class/thermal/cooling_device0/type", device)
        self.write("sys/class/thermal/cooling_device0/cur_state", str(state))

    def over_current(self, guard: int = 3, times: int = 1) -> None:
        path = f"{OVER_CURRENT}/oc{guard}_event_cnt"
        self.write(path, str(int(self.read(path)) + times))

    def lock_clocks(self) -> None:
        """As a boot service would."""
        for folder, prefix in ((GPU, ""), ("sys/devices/system/cpu/cpufreq/policy0", "scaling_")):
            self.write(f"{folder}/{prefix}min_freq", self.read(f"{folder}/{prefix}max_freq"))

    def read(self, path: str) -> str:
        return (self.root / path).read_text().strip()

    def write(self, path: str, text: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + "\n")

    def _write_files(self) -> None:
        self.write("etc/nvpmodel.conf", _table())
        self.write("var/lib/nvpmodel/status", "pmode:0000 fmode:quiet")
        self.write("faults", "")
        self.write("calls", "")
        for core in range(6):
            self.write(f"sys/devices/system/cpu/cpu{core}/online", "1")
        policy = "sys/devices/system/cpu/cpufreq/policy0"
        for path, value in {
            f"{policy}/scaling_min_freq": 729_600,
            f"{policy}/scaling_max_freq": CPU_KHZ["15W"],
            f"{GPU}/min_freq": 306_000_000,
            f"{GPU}/max_freq": GPU_HZ["15W"],
            f"{GPU}/cur_freq": GPU_HZ["15W"],
            f"{GPU}/device/load": 423,
            f"{RAILS}/in1_input": 5000,
            f"{RAILS}/curr1_input": 1800,
            f"{RAILS}/in2_input": 5000,
            f"{RAILS}/curr2_input": 900,
            f"{RAILS}/in7_input": 3,
            f"{OVER_CURRENT}/oc1_event_cnt": 0,
            f"{OVER_CURRENT}/oc1_throt_en": 1,
            f"{OVER_CURRENT}/oc3_event_cnt": 813,
            f"{OVER_CURRENT}/oc3_throt_en": 1,
            "sys/class/thermal/thermal_zone0/temp": 51_687,
            "sys/class/thermal/thermal_zone1/temp": 48_500,
            "sys/class/thermal/thermal_zone2/temp": -256_000,
            "sys/class/thermal/cooling_device0/cur_state": 0,
            "sys/class/thermal/cooling_device1/cur_state": 3,
        }.items():
            self.write(path, str(value))
        for path, text in {
            f"{GPU}/device/of_node/name": "gpu",
            f"{RAILS}/name": "ina3221",
            f"{RAILS}/in1_label": "VDD_IN",
            f"{RAILS}/in2_label": "VDD_CPU_GPU_CV",
            f"{RAILS}/in7_label": "sum of shunt voltages",
            f"{OVER_CURRENT}/name": "soctherm_oc",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "sys/class/thermal/thermal_zone1/type": "gpu-thermal",
            "sys/class/thermal/thermal_zone2/type": "cv0-thermal",
            "sys/class/thermal/cooling_device0/type": "gpu-throttle-alert",
            "sys/class/thermal/cooling_device1/type": "pwm-fan",
        }.items():
            self.write(path, text)

    def _write_tools(self) -> None:
        self.tools.mkdir(parents=True)
        for name, program in (("nvpmodel", _NVPMODEL), ("jetson_clocks", _JETSON_CLOCKS)):
            place = self.tools / name
            place.write_text(program.format(python=sys.executable, root=str(self.root)))
            place.chmod(place.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _table() -> str:
    lines = [
        _TABLE_HEAD.format(
            cores="\n".join(f"CORE_{core} /sys/devices/system/cpu/cpu{core}/online" for core in range(6))
        )
    ]
    for number, name in enumerate(MODES):
        cores = "\n".join(f"CPU_ONLINE CORE_{core} {int(core < CORES.get(name, 6))}" for core in range(6))
        lines.append(
            f"< POWER_MODEL ID={number} NAME={name} >\n{cores}\nTPC_POWER_GATING TPC_PG_MASK {GATED.get(name, '0')}\n"
            f"CPU_A78_0 MIN_FREQ 729600\nCPU_A78_0 MAX_FREQ {CPU_KHZ[name]}\n"
            f"GPU MIN_FREQ 0\nGPU MAX_FREQ {GPU_HZ[name]}\nEMC MAX_FREQ -1\n"
        )
    return "\n".join([*lines, "< PM_CONFIG DEFAULT=0 >"])
