"""What is installed beside the package: it parses, it names what exists, and procmail really files by it."""

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from filterd import config, listen
from filterd.errors import ConfigError
from filterd.service.metrics import ServiceMetrics
from tests.conftest import ROOT, need_program
from tests.test_docs import commands, metrics

DEPLOY = ROOT / "deploy"
UNITS = sorted(
    file for file in (DEPLOY / "systemd").iterdir() if file.suffix in (".service", ".socket", ".timer")
)
FILTERD = Path(sys.executable).with_name("filterd")
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


def unit(file: Path) -> configparser.RawConfigParser:
    """A unit file; of keys given several times the last."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # systemd's keys have capitals
    parser.read(file)
    return parser


SERVICE = DEPLOY / "systemd" / "filterd.service"
SOCKET = DEPLOY / "systemd" / "filterd-spamd.socket"


def test_the_units_run_commands_that_exist() -> None:
    known = set(commands("filterd"))
    lines = re.findall(r"^Exec\w+=/opt/filterd/bin/(filterd .*)$", SERVICE.read_text("utf-8"), re.M)
    assert len(lines) == 2
    for line in lines:
        command, option, path = line.partition(" --config")
        assert command in known
        assert (option, path.strip()) == (" --config", str(config.SYSTEM_CONFIG))


def test_the_service_says_what_its_program_does() -> None:
    service = unit(SERVICE)["Service"]
    defaults = config.Config()
    assert service["Type"] == "notify"
    assert service["RestartPreventExitStatus"] == str(ConfigError.exit_status)
    assert float(service["TimeoutStopSec"]) > defaults.leave_s + defaults.drain_s
    assert defaults.state == f"/var/lib/{service['StateDirectory']}"
    for address in (*defaults.spamd.listen, *defaults.http.listen):
        assert address.startswith(f"unix:/run/{service['RuntimeDirectory']}/")


def test_the_socket_is_the_one_that_the_default_configuration_listens_on() -> None:
    socket = unit(SOCKET)["Socket"]
    assert (f"unix:{socket['ListenStream']}",) == config.Config().spamd.listen
    assert socket["SocketMode"] == config.Config().spamd.mode
    assert socket["Service"] == SERVICE.name
    assert int(socket["Backlog"]) == listen.BACKLOG
    assert f'"systemd:{socket["FileDescriptorName"]}"' in SOCKET.read_text("utf-8")


def test_every_hardening_line_has_a_reason_above_it() -> None:
    lines = SERVICE.read_text("utf-8").splitlines()
    hardening = re.compile(
        r"(Protect|Private|Restrict[A-Z]\w+=(yes|AF)|Memory|SystemCallFilter|IPAddress|NoNew)"
    )
    found = [i for i, line in enumerate(lines) if hardening.match(line)]
    assert len(found) >= 20
    for i in found:
        block = list(reversed(lines[:i]))
        comment = next(line for line in block if not line or line.startswith("#"))
        assert comment.startswith("#"), f"no reason for {lines[i]}"


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = need_program("systemd-analyze")
    for file in UNITS:
        text = file.read_text("utf-8").replace("/opt/filterd/bin", str(FILTERD.parent))
        (tmp_path / file.name).write_text(text, "utf-8")
    run = [analyze, "verify", "--man=no", *(str(tmp_path / file.name) for file in UNITS)]
    said = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_users_and_folders_are_those_of_the_service() -> None:
    service = unit(SERVICE)["Service"]
    users = (DEPLOY / "systemd" / "filterd.sysusers").read_text("utf-8")
    assert re.search(rf"^u {service['User']} ", users, re.M)
    folders = (DEPLOY / "systemd" / "filterd.tmpfiles").read_text("utf-8")
    owner = f"{service['User']} {service['Group']}"
    assert re.search(rf"^d /run/{service['RuntimeDirectory']} 0755 {owner} ", folders, re.M)


@pytest.mark.parametrize(
    "file", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda file: str(file.relative_to(DEPLOY))
)
def test_yaml_is_yaml(file: Path) -> None:
    assert isinstance(yaml.safe_load(file.read_text("utf-8")), dict)


def test_the_containers_configuration_is_right_and_published_on_loopback_only() -> None:
    inside = config.load(DEPLOY / "docker" / "filterd.yaml")
    ports = {a.rsplit(":", 1)[1] for a in (*inside.spamd.listen, *inside.http.listen) if a.startswith("tcp:")}
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yml").read_text("utf-8"))
    published = [port for service in compose["services"].values() for port in service["ports"]]
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert {port.rsplit(":", 1)[1] for port in compose["services"]["filterd"]["ports"]} == ports
    exposed = re.search(r"^EXPOSE (.*)$", (DEPLOY / "docker" / "Dockerfile").read_text("utf-8"), re.M)
    assert exposed
    assert set(exposed[1].split()) == ports


def test_everything_that_compose_mounts_is_there() -> None:
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yml").read_text("utf-8"))
    mounts = [m.split(":")[0] for service in compose["services"].values() for m in service["volumes"]]
    for mount in (m for m in mounts if m.startswith(".")):
        assert (DEPLOY / "docker" / mount).exists(), mount


def test_rules_and_dashboard_ask_for_metrics_that_there_are() -> None:
    series = {sample.name for family in ServiceMetrics().registry.collect() for sample in family.samples} | {
        name
        for metric in metrics()
        for name in (metric, f"{metric}_bucket", f"{metric}_sum", f"{metric}_count")
    }
    rules = yaml.safe_load((DEPLOY / "prometheus" / "filterd-rules.yml").read_text("utf-8"))
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    board = json.loads((DEPLOY / "docker" / "grafana" / "dashboards" / "filterd.json").read_text("utf-8"))
    asked += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(asked) >= 20
    for expression in asked:
        for name in re.findall(r"\bfilterd_\w+", expression):
            assert name in series, expression


def test_prometheus_takes_configuration_and_rules() -> None:
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed")
    run = [promtool, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml")]
    said = subprocess.run(run, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize(
    ("body", "program", "folder", "tagged"),
    [
        pytest.param(GTUBE, str(FILTERD), "spam", True, id="spam is filed apart"),
        pytest.param("Lunch at noon?", str(FILTERD), "inbox", True, id="ham stays"),
        pytest.param(GTUBE, "/nonexistent/filterd", "inbox", False, id="without a filter the mail arrives"),
    ],
)
def test_procmail_files_by_our_rules(
    body: str, program: str, folder: str, tagged: bool, tmp_path: Path
) -> None:
    procmail = need_program("procmail")
    rules = tmp_path / "filterd.rc"
    rules.write_bytes((DEPLOY / "procmail" / "filterd.rc").read_bytes())
    settings = [f"MAILDIR={tmp_path}", f"DEFAULT={tmp_path}/inbox/", f"FILTERD={program}"]
    settings += [f"FILTERD_SPAM={tmp_path}/spam/", f"PATH={Path(sys.executable).parent}:/usr/bin:/bin"]
    mail = f"From: a@example.org\nSubject: hello\n\n{body}\n".encode()
    said = subprocess.run(
        [procmail, *settings, "FILTERD_SOCKET=", str(rules)], input=mail, capture_output=True, check=False
    )
    assert said.returncode == 0, said.stderr
    arrived = list((tmp_path / folder / "new").iterdir())
    assert len(arrived) == 1
    assert body.encode() in arrived[0].read_bytes()
    assert (b"X-Spam-Status:" in arrived[0].read_bytes()) is tagged
