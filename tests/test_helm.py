"""The chart: linted and rendered by Helm's own engine, valid for Kubernetes, and safe by rules of our own."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

CHART = Path(__file__).resolve().parent.parent / "helm"
VALUES = {path.stem.removesuffix("-values"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
PROCESSES = {"web", "worker", "ticker", "runner", "discover"}
WARNING = 2

Manifest = dict[str, Any]


def values_of(name: str) -> Manifest:
    return yaml.safe_load(VALUES[name].read_text()) or {}


def render(values: Manifest, *, upgrade: bool = False, release: str = "hive") -> list[Manifest]:
    """All manifests of one release."""
    chart = helm.Chart.load(str(CHART))
    files = chart.render(values, name=release, namespace="bees", revision=1, is_install=not upgrade, is_upgrade=upgrade)
    texts = (text for path, text in files.items() if path.endswith(".yaml"))
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def component(manifest: Manifest) -> str:
    return manifest["metadata"]["labels"].get("app.kubernetes.io/component", "")


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod templates by the process they run."""
    return {
        component(each): each["spec"]["template"] for each in of_kind(manifests, "Deployment", "StatefulSet", "Job")
    }


def containers(pod: Manifest) -> list[Manifest]:
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def environment_names(container: Manifest) -> set[str]:
    sources = {kind for source in container.get("envFrom", []) for kind in source}
    return {variable["name"] for variable in container.get("env", [])} | sources


@pytest.fixture(params=sorted(VALUES))
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """One release for each file of values in helm/ci."""
    return render(values_of(request.param))


@pytest.mark.parametrize("name", sorted(VALUES))
def test_helm_lint_has_nothing_to_say(name: str) -> None:
    report = helm.lint(str(CHART), values_of(name), strict=True, kube_version="v1.30.0")
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] >= WARNING] == []


@pytest.mark.parametrize("version", ["1.27", "1.32", "1.37"])
def test_every_manifest_fits_the_schemas_of_kubernetes(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schemas_of_kubernetes_refuse_a_broken_manifest() -> None:
    broken = of_kind(render({}), "Deployment")[0]
    broken["spec"]["replicas"] = "two"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.32", strict=True)


def test_each_process_has_a_file_of_its_name_and_a_workload() -> None:
    assert {path.stem for path in (CHART / "templates").glob("*.yaml")} >= PROCESSES | {"migrate"}
    assert set(pods(render({}))) == PROCESSES | {"migrate"}
    assert set(pods(render(values_of("small")))) == PROCESSES - {"discover"} | {"migrate"}


def test_every_pod_keeps_to_the_restricted_profile(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests).items():
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost"), name
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "persistentVolumeClaim", "secret"}, name
        for container in containers(pod):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert not security.get("privileged"), name


def test_every_container_has_requests_and_limits(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests).items():
        for container in containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), name
            assert {"cpu", "memory"} <= resources["limits"].keys(), name
        for volume in pod["spec"]["volumes"]:
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], name


def test_every_process_is_probed_and_liveness_never_asks_the_database(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests).items():
        if name == "migrate":
            continue
        (container,) = pod["spec"]["containers"]
        assert {"startupProbe", "livenessProbe"} <= container.keys(), name
        assert "readyz" not in str(container["livenessProbe"]), name
    (web,) = pods(manifests)["web"]["spec"]["containers"]
    assert web["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert web["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_runner_has_no_way_to_the_database(manifests: list[Manifest]) -> None:
    pod = pods(manifests)["runner"]
    (runner,) = containers(pod)
    assert environment_names(runner) == {
        "WAGGLE_RUNNER_NAME",
        "WAGGLE_RUNNER_TOKEN_FILE",
        "WAGGLE_URL",
        "WAGGLE_RUNNER_CAPACITY",
        "WAGGLE_RUNNER_DIR",
        "WAGGLE_LOG_FORMAT",
        "HOME",
    }
    assert not any("persistentVolumeClaim" in volume for volume in pod["spec"]["volumes"])
    mine = {**pod["metadata"]["labels"]}
    allowed = [
        rule
        for policy in of_kind(manifests, "NetworkPolicy")
        if selects(policy["spec"]["podSelector"], mine)
        for rule in policy["spec"].get("egress", [])
    ]
    ports = {port["port"] for rule in allowed for port in rule["ports"]}
    assert not ports & {5432, 6379, 6432, 6380}
    for rule in allowed:
        assert rule.get("to") or {port["port"] for port in rule["ports"]} == {53}


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector matches, as Kubernetes does it."""
    tests: dict[str, Callable[[str | None, list[str]], bool]] = {
        "In": lambda value, values: value in values,
        "NotIn": lambda value, values: value not in values,
    }
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        tests[each["operator"]](labels.get(each["key"]), each["values"])
        for each in selector.get("matchExpressions", [])
    )


def test_the_control_plane_reaches_its_database_through_the_policies() -> None:
    manifests = render(values_of("production"))
    for name in ("web", "worker", "ticker", "discover", "migrate"):
        labels = pods(manifests)[name]["metadata"]["labels"]
        ports = {
            port["port"]
            for policy in of_kind(manifests, "NetworkPolicy")
            if selects(policy["spec"]["podSelector"], labels)
            for rule in policy["spec"].get("egress", [])
            for port in rule["ports"]
        }
        assert {53, 6432, 6380} <= ports, name


def test_every_selector_meets_exactly_the_pods_of_its_process(manifests: list[Manifest]) -> None:
    templates = pods(manifests)
    for each in of_kind(manifests, "Deployment", "StatefulSet"):
        matched = [
            name for name, pod in templates.items() if selects(each["spec"]["selector"], pod["metadata"]["labels"])
        ]
        assert matched == [component(each)]
    for service in of_kind(manifests, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        matched = [name for name, pod in templates.items() if selects(selector, pod["metadata"]["labels"])]
        assert matched == [component(service)]


def test_a_changed_configuration_starts_new_pods() -> None:
    before, after = pods(render({})), pods(render({"clock": {"leaseSeconds": 60}}))
    for name in PROCESSES:
        checksums = [each[name]["metadata"]["annotations"]["checksum/config"] for each in (before, after)]
        assert checksums[0] != checksums[1], name


def test_migrations_run_beside_the_pods_on_install_and_before_them_on_upgrade() -> None:
    def job(manifests: list[Manifest]) -> Manifest:
        (found,) = of_kind(manifests, "Job")
        return found

    install, upgrade = job(render({})), job(render({}, upgrade=True))
    assert "annotations" not in install["metadata"]
    assert upgrade["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    other = job(render({"image": {"tag": "9.9"}}))
    assert install["metadata"]["name"] != other["metadata"]["name"], "a Job cannot be changed, only replaced"
    for name in PROCESSES - {"runner"}:
        (waiting,) = pods(render({}))[name]["spec"]["initContainers"]
        assert waiting["command"][:3] == ["python", "manage.py", "ready"], name


def test_the_hook_before_an_upgrade_needs_nothing_that_the_upgrade_brings() -> None:
    (container,) = pods(render({}, upgrade=True))["migrate"]["spec"]["containers"]
    assert "configMapRef" not in environment_names(container)


def test_no_secret_is_made_or_written_by_the_chart(manifests: list[Manifest]) -> None:
    assert of_kind(manifests, "Secret") == []
    (configuration,) = of_kind(manifests, "ConfigMap")
    assert not [name for name in configuration["data"] if name.endswith(("_KEY", "_TOKEN", "_URL_PASSWORD"))]
    assert not {"DATABASE_URL", "REDIS_URL"} & configuration["data"].keys()


def test_disruption_budgets_leave_room_to_drain_a_node(manifests: list[Manifest]) -> None:
    replicas = {component(each): each["spec"]["replicas"] for each in of_kind(manifests, "Deployment")}
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert budget["spec"]["minAvailable"] < replicas[component(budget)]


def test_an_ingress_leads_the_public_host_and_all_teams_to_web() -> None:
    (ingress,) = of_kind(render(values_of("production")), "Ingress")
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["waggle.example", "*.waggle.example"]
    assert ingress["spec"]["tls"][0]["hosts"] == ["waggle.example", "*.waggle.example"]
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"


def test_two_releases_in_one_namespace_do_not_meet() -> None:
    def names(release: str) -> set[tuple[str, str]]:
        return {(each["kind"], each["metadata"]["name"]) for each in render({}, release=release)}

    assert not names("one") & names("two")


def wrong_values() -> Iterator[tuple[str, Manifest]]:
    yield "replica", {"web": {"replica": 3}}
    yield "replicas", {"worker": {"replicas": 0}}
    yield "publicUrl", {"publicUrl": "waggle.example"}
    yield "existingSecret", {"secret": {"existingSecret": ""}}
    yield "limits", {"web": {"resources": {"limits": {"cpu": "1", "memory": "plenty"}}}}
    yield "type", {"runner": {"seccompProfile": {"type": "Unconfined"}}}


@pytest.mark.parametrize(("key", "values"), [pytest.param(*case, id=case[0]) for case in wrong_values()])
def test_a_wrong_value_is_refused_with_its_name(key: str, values: Manifest) -> None:
    chart = helm.Chart.load(str(CHART))
    with pytest.raises(helm.HelmValuesError, match=key):
        chart.validate_schema(chart.merge_values(values))


def test_tls_without_a_certificate_is_refused_with_the_remedy() -> None:
    with pytest.raises(helm.HelmRenderError, match=r"ingress\.tls\.secretName"):
        render({"ingress": {"enabled": True, "tls": {"enabled": True}}})


def test_the_chart_sets_only_variables_that_the_settings_know() -> None:
    table = set(re.findall(r"^\| `([A-Z_]+)`", (CHART.parent / "docs" / "settings.md").read_text(), re.MULTILINE))
    manifests = render(values_of("production"))
    (configuration,) = of_kind(manifests, "ConfigMap")
    named = set(configuration["data"]).union(
        variable["name"]
        for pod in pods(manifests).values()
        for container in containers(pod)
        for variable in container.get("env", [])
    )
    assert named - table == {"HOME"}


def test_a_bucket_for_artifacts_is_told_to_all_and_reached_by_web_and_ticker_alone() -> None:
    manifests = render(values_of("production"))
    (told,) = (each["data"] for each in of_kind(manifests, "ConfigMap") if "WAGGLE_HOST" in each["data"])
    assert told["WAGGLE_ARTIFACT_BUCKET"] == "waggle-artifacts"
    assert told["WAGGLE_ARTIFACT_ENDPOINT"] == "https://objects.example:9000"
    assert (told["WAGGLE_ARTIFACT_MB"], told["WAGGLE_ARTIFACT_TEAM_MB"]) == ("100", "50000")
    for name, pod in pods(manifests).items():
        ports = {
            port["port"]
            for policy in of_kind(manifests, "NetworkPolicy")
            if selects(policy["spec"]["podSelector"], pod["metadata"]["labels"])
            for rule in policy["spec"].get("egress", [])
            for port in rule["ports"]
        }
        assert (9000 in ports) is (name in {"web", "ticker"}), name
    (plain,) = (each["data"] for each in of_kind(render({}), "ConfigMap") if "WAGGLE_HOST" in each["data"])
    assert not {"WAGGLE_ARTIFACT_BUCKET", "WAGGLE_ARTIFACT_ENDPOINT"} & plain.keys()
