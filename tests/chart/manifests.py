"""What every rendered object must be: right by the schemas, restricted, and of one piece with the others."""

import json
import subprocess
from pathlib import Path

import kubernetes_validate

from helm import TOOLS

# The oldest that the chart takes, and the newest whose schema is at hand.
VERSIONS = ["1.29", kubernetes_validate.latest_version()]
OPERATOR = "monitoring.coreos.com/v1"


def key(found):
    return (found["apiVersion"], found["kind"], found["metadata"].get("namespace", ""), found["metadata"]["name"])


def of_kind(objects, kind):
    return [found for found in objects if found["kind"] == kind]


def one(objects, kind, name=None):
    found = [entry for entry in of_kind(objects, kind) if name in (None, entry["metadata"]["name"])]
    assert len(found) == 1, f"{kind} {name or ''}: {[key(entry) for entry in found]}"
    return found[0]


def schema_faults(objects, version):
    """Against the schemas of that Kubernetes, unknown fields refused."""
    faults = []
    for found in objects:
        if found["apiVersion"] == OPERATOR:
            continue
        try:
            kubernetes_validate.validate(found, version, strict=True)
        except Exception as error:  # Whatever it is, the object is not shown to be right.
            faults.append(f"{key(found)}: {error}")
    return faults


def operator_faults(objects):
    """The objects of the Prometheus operator, against its own schemas."""
    chosen = [found for found in objects if found["apiVersion"] == OPERATOR]
    command = ["node", Path(__file__).parent / "crds.mjs", TOOLS / "npm-chart/node_modules"]
    done = subprocess.run(command, input=json.dumps(chosen), capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def pods(objects):
    """Every pod's name, labels and spec, wherever it stands."""
    for found in objects:
        if found["kind"] == "Pod":
            yield found["metadata"]["name"], found["metadata"]["labels"], found["spec"]
        elif "template" in found.get("spec", {}):
            template = found["spec"]["template"]
            yield found["metadata"]["name"], template["metadata"]["labels"], template["spec"]


def security_faults(objects):
    """The restricted pod security standard, and what else a container here must keep to."""
    faults = []
    for name, _, spec in pods(objects):
        def wrong(text):
            faults.append(f"{name}: {text}")

        for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(forbidden):
                wrong(forbidden)
        if spec.get("automountServiceAccountToken") is not False:
            wrong("a token of the API server is mounted")
        pod = spec.get("securityContext", {})
        allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
        for volume in spec.get("volumes", []):
            if set(volume) - {"name"} - allowed:
                wrong(f"volume {volume}")
        for container in spec.get("initContainers", []) + spec["containers"]:
            own = container.get("securityContext", {})
            either = lambda field: own.get(field, pod.get(field))
            if own.get("allowPrivilegeEscalation") is not False:
                wrong("privilege escalation")
            if own.get("privileged"):
                wrong("privileged")
            if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
                wrong("capabilities")
            if either("runAsNonRoot") is not True or either("runAsUser") in (None, 0):
                wrong("runs as root")
            if (either("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
                wrong("no seccomp profile")
            if own.get("readOnlyRootFilesystem") is not True:
                wrong("the root may be written")
            if any("hostPort" in port for port in container.get("ports", [])):
                wrong("a port of the host")
            if not container.get("resources", {}).get("limits", {}).get("memory"):
                wrong("no memory limit")
    return faults


def reference_faults(objects):
    """Names and labels by which the objects find each other."""
    faults = []
    found_pods = list(pods(objects))
    ports = {port["name"] for _, _, spec in found_pods for container in spec["containers"] for port in container.get("ports", [])}

    def matches(selector, labels):
        return selector.items() <= labels.items()

    for service in of_kind(objects, "Service"):
        chosen = [spec for _, labels, spec in found_pods if matches(service["spec"]["selector"], labels)]
        if len(chosen) != 1:
            faults.append(f"{key(service)} selects {len(chosen)} kinds of pods")
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                faults.append(f"{key(service)}: no port {port['targetPort']}")
    for monitor in of_kind(objects, "ServiceMonitor"):
        chosen = [service for service in of_kind(objects, "Service")
                  if matches(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])]
        names = {port["name"] for service in chosen for port in service["spec"]["ports"]}
        if len(chosen) != 1 or {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} - names:
            faults.append(f"{key(monitor)} selects {[key(service) for service in chosen]}")
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        for found in of_kind(objects, kind):
            selector = (found["spec"].get("selector") or found["spec"]["podSelector"])["matchLabels"]
            if sum(matches(selector, labels) for _, labels, _ in found_pods) != 1:
                faults.append(f"{key(found)} does not select one kind of pods")
    for controller in of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet"):
        if not matches(controller["spec"]["selector"]["matchLabels"], controller["spec"]["template"]["metadata"]["labels"]):
            faults.append(f"{key(controller)} does not select its own pods")
    for name, _, spec in found_pods:
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for found in of_kind(objects, "StatefulSet") if found["metadata"]["name"] == name
                    for claim in found["spec"].get("volumeClaimTemplates", [])}
        for container in spec["containers"]:
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    faults.append(f"{name}: no volume {mount['name']}")
    twice = [entry for entry in map(key, objects) if [key(found) for found in objects].count(entry) > 1]
    return faults + [f"twice: {entry}" for entry in twice]
