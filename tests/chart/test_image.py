"""The image's recipe and the trial's compose file. No container engine builds them here: instead the program is built from
what the recipe copies, and runs as uid 65532 in a root that holds what the image holds and cannot be written."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from cluster import SOON, eventually, get
from conftest import CI
from helm import HELMS, ROOT, TOOLS, merged
from manifests import one
from test_rollout import Redis

UID = "65532"
# What gcr.io/distroless/cc-debian12 holds of what a Rust program is linked to.
LIBRARIES = re.compile(r"(libc|libm)\.so\.6|libgcc_s\.so\.1|ld-linux.*\.so\.\d|linux-vdso\.so\.1")
ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")


def instructions():
    """The Dockerfile's lines, stage by stage: [(instruction, rest)]."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
    stages = [[]]
    for line in filter(str.strip, text.splitlines()):
        word, rest = line.split(None, 1)
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest.strip()))
    return stages[1:]


def context(into):
    """The build context: what .dockerignore lets through, and of it what the first stage copies."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    def sent(path):
        verdict = True
        for line in lines:
            pattern = line.removeprefix("!")
            if any(fnmatch.fnmatchcase(str(part), pattern) for part in [path, *path.parents]):
                verdict = line.startswith("!")
        return verdict

    tracked = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [Path(line) for line in tracked.stdout.splitlines() if sent(Path(line)) and (ROOT / line).exists()]
    copied = [words.split()[:-1] for word, words in instructions()[0] if word == "COPY"]
    for source in (Path(source) for sources in copied for source in sources):
        chosen = [file for file in files if source in [file, *file.parents]]
        assert chosen, f"COPY {source} finds nothing"
        for file in chosen:
            (into / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, into / file)


@pytest.fixture(scope="module")
def built(tmp_path_factory, program):
    """The program, built from what the image is built from."""
    source = tmp_path_factory.mktemp("source")
    context(source)
    target = Path(program).parents[1]
    subprocess.run(["cargo", "build", "--locked", "--quiet", "--bin", "salesos-webhooks"], cwd=source, check=True,
                   env=os.environ | {"CARGO_TARGET_DIR": str(target)})
    kept = source / "salesos-webhooks"
    shutil.copy(target / "debug/salesos-webhooks", kept)
    return kept


@pytest.fixture(scope="module")
def root(tmp_path_factory, built):
    """A root that holds what the image holds."""
    root = tmp_path_factory.mktemp("root")
    root.chmod(0o755)
    for directory in ("proc", "etc/ssl/certs", "etc/salesos-webhooks", "usr/local/bin", "tmp"):
        (root / directory).mkdir(parents=True)
    shutil.copy(built, root / "usr/local/bin/salesos-webhooks")
    shutil.copy(ROOT / "config/container.toml", root / "etc/salesos-webhooks/config.toml")
    shutil.copy(ROOTS, root / str(ROOTS).lstrip("/"))
    # As the kubelet and the engines mount them.
    for file in ("/etc/resolv.conf", "/etc/hosts"):
        shutil.copy(file, root / file.lstrip("/"))
    for path in re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", built], capture_output=True, text=True, check=True).stdout):
        (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path.lstrip("/"))
    return root


def in_root(root, words):
    """A command that runs `words` in `root`, which is read-only then, without any right."""
    script = 'mount --bind "$0" "$0" && mount -t proc proc "$0/proc" && mount -o remount,bind,ro "$0" && exec "$@"'
    # What chroot itself needs is gone with the user; nothing brings it back without new privileges.
    drop = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all,+sys_chroot,+setuid,+setgid"]
    enter = [shutil.which("chroot"), f"--userspec={UID}:{UID}", "--groups=", root]
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, root, *drop, *enter, *words]


def test_the_recipe_fits_the_chart():
    build, run = instructions()
    last = dict(run)
    assert last["USER"] == f"{UID}:{UID}"
    container = one(HELMS[0].render(str(ROOT / "charts/salesos-webhooks"), merged([CI[0]], {})), "Deployment")["spec"]["template"]["spec"]
    assert json.loads(last["ENTRYPOINT"]) == container["containers"][0]["command"]
    assert str(container["securityContext"]["runAsUser"]) == UID
    ports = [str(port["containerPort"]) for port in container["containers"][0]["ports"]]
    assert last["EXPOSE"].split() == ports
    assert dict(build)["ENV"] == "SALESOS_WEBHOOKS_REVISION=${REVISION}"
    assert not [words for word, words in run if word == "RUN"], "the last stage has no shell"
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
    default = re.search(r"ARG RUST_VERSION=(\S+)", (ROOT / "Dockerfile").read_text())[1]
    numbers = lambda text: [int(part) for part in text.split(".")]
    assert numbers(default) >= numbers(version["rust-version"])
    chart = yaml.safe_load((ROOT / "charts/salesos-webhooks/Chart.yaml").read_text())
    assert chart["appVersion"] == version["version"]


def test_the_image_holds_every_library(built):
    linked = re.findall(r"^\s*(\S+)", subprocess.run(["ldd", built], capture_output=True, text=True, check=True).stdout, re.M)
    for library in linked:
        assert LIBRARIES.fullmatch(Path(library).name), f"{library} is not in the image"


def test_a_node_serves_without_rights_in_a_root_that_cannot_be_written(root, report, tmp_path):
    redis = Redis("dir /data\nappendonly yes\nmaxmemory-policy noeviction\n", tmp_path)
    env = {
        "WEBHOOKS_REDIS__URL": f"redis://127.0.0.1:{redis.port}",
        "WEBHOOKS_AUTH__JWT_SECRET": "k" * 32,
        "WEBHOOKS_SERVER__PORT": "0",
        "WEBHOOKS_SERVER__MANAGEMENT_PORT": "0",
    }
    _, run = instructions()
    last = dict(run)
    words = json.loads(last["ENTRYPOINT"]) + json.loads(last["CMD"])
    log = tmp_path / "log"
    with log.open("w") as stream:
        node = subprocess.Popen(in_root(root, words), env=env, stderr=stream, cwd="/")
    try:
        def listening():
            assert node.poll() is None, log.read_text()
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            return next((line for line in lines if line.get("message") == "listening"), None)

        ports = eventually("the node listens", listening)
        # The file of the image is the one that was read.
        assert ports["api"].startswith("0.0.0.0:")
        api, management = (ports[name].replace("0.0.0.0", "127.0.0.1") for name in ("api", "management"))
        eventually("the node is ready", lambda: get(management, "/health/ready") == 200)
        status = dict(re.findall(r"^(\w+):\s+(\S+)", Path(f"/proc/{node.pid}/status").read_text(), re.M))
        rights = [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")]
        assert (status["Uid"], status["Gid"], rights, status["NoNewPrivs"]) == (UID, UID, [0] * 4, "1")
        mount = next(line for line in Path(f"/proc/{node.pid}/mountinfo").read_text().splitlines() if line.split()[4] == "/")
        assert "ro" in mount.split()[5].split(",")
        smoke = ["/usr/local/bin/salesos-webhooks", "smoke-test", "--url", f"http://{api}", "--management", f"http://{management}"]
        done = subprocess.run(in_root(root, smoke), env=env, capture_output=True, text=True, timeout=SOON)
        assert done.returncode == 0 and "attempted  dns" in done.stdout, done.stdout + done.stderr
        heading = "the image's contents, run"
        report(heading, f"uid {status['Uid']}, no capability, no new privileges, root read-only: {done.stdout.splitlines()[0]}")
        report(heading, done.stdout.splitlines()[-2])
        node.terminate()
        assert node.wait(timeout=SOON) == 0
    finally:
        node.kill()
        node.wait()
        redis.child.kill()
        redis.child.wait()


def test_the_roots_of_the_image_are_those_that_are_used(root, tmp_path):
    """Without them no webhook could be called: it is said at once."""
    bare = tmp_path / "bare"
    shutil.copytree(root, bare)
    (bare / str(ROOTS).lstrip("/")).unlink()
    env = {"WEBHOOKS_AUTH__JWT_SECRET": "k" * 32}
    words = ["/usr/local/bin/salesos-webhooks", "smoke-test", "--url", "http://127.0.0.1:1", "--wait", "1s"]
    said = lambda place: subprocess.run(in_root(place, words), env=env, capture_output=True, text=True, timeout=SOON).stderr
    with_roots, without = said(root), said(bare)
    assert "refused" in with_roots.lower(), with_roots
    assert without != with_roots, without


def test_the_trial_is_a_compose_file():
    text = (ROOT / "docker-compose.yml").read_text()
    trial = yaml.safe_load(text)
    schema = json.loads((TOOLS / "compose/compose/config/compose_spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(trial)
    settings = tomllib.loads((ROOT / "config/default.toml").read_text())
    nodes = [service for name, service in trial["services"].items() if name.startswith("node-")]
    for node in nodes:
        assert node["read_only"] and node["cap_drop"] == ["ALL"]
        assert int(node["stop_grace_period"].removesuffix("s")) > settings["server"]["drain_seconds"]
        for name in node["environment"]:
            section, key = name.removeprefix("WEBHOOKS_").lower().split("__")
            assert key in settings[section], name
    for name, service in trial["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in trial["volumes"] or (ROOT / source).exists(), f"{name}: {volume}"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network"
    scraped = yaml.safe_load((ROOT / "config/trial/prometheus.yml").read_text())["scrape_configs"][0]["static_configs"][0]["targets"]
    assert scraped == [f"{name}:9464" for name in trial["services"] if name.startswith("node-")]
