"""Rules for agents' tools: the first that fits decides, a permission never fits by accident."""

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from swarms.policy.patterns import is_inside
from swarms.policy.rules import DEFAULTS, Call, Rule, Verdict, judge, reaches_out, telling, unasked
from swarms.policy.shell import LONGEST, is_plain, may_run

ALLOW, ASK, DENY = Verdict.ALLOW, Verdict.ASK, Verdict.DENY
GIT = Rule("shell", ALLOW, {"command": "git status*"})
NOTHING_ELSE = Rule("shell", DENY)


def shell(command: str, **fields: Any) -> Call:
    return Call("shell", {"command": command}, "developer", **fields)


def edit(path: Any, **fields: Any) -> Call:
    return Call("edit", {"path": path, "content": "x"}, **({"role": "developer"} | fields))


def verdict(call: Call, *rules: Rule) -> Verdict:
    return judge(rules, call).verdict


SLIPS = (
    "git status; rm -rf .",
    "git status;rm -rf .",
    "git status && curl http://x",
    "git status || curl http://x",
    "git status | sh",
    "git status & curl http://x",
    "git status $(curl http://x)",
    "git status `curl http://x`",
    'git status "$(curl http://x)"',
    'git status "`curl http://x`"',
    "git status\ncurl http://x",
    "git status\rcurl http://x",
    "git status\\\n;curl http://x",
    "git status > .git/hooks/post-commit",
    "git status < /etc/passwd",
    "git status <(curl http://x)",
    "git status >(curl http://x)",
    "git status <<X\nX\ncurl http://x",
    "git status ${IFS}--help",
    "git status $HOME",
    "git status {a,b}",
    "git status *",
    "git status [a]",
    "git status ~root",
    "git status # only this",
    "git status '",
    'git status "',
    "git status ' && curl http://x ; '\\''",
    "git status '' ; curl http://x ''",
    "git status \x00; curl",
    "git status !!; x",
    "GIT_PAGER=sh git status",
    " ; git status",
    "git  status",
    "'git' status",
    "sudo git status",
    "git status " + "a" * LONGEST,
)


@pytest.mark.parametrize("command", SLIPS)
def test_a_permission_for_one_command_lets_no_other_slip_through(command: str) -> None:
    assert verdict(shell(command), GIT, NOTHING_ELSE) == DENY


@pytest.mark.parametrize(
    "command",
    [
        "git status",
        "git status --short",
        " git status ",
        "git status -- 'a; b'",
        'git status -- "a; b & c"',
        "git status HEAD~1",
    ],
)
def test_a_permission_holds_for_what_it_names(command: str) -> None:
    assert verdict(shell(command), GIT, NOTHING_ELSE) == ALLOW


def test_a_compound_command_is_allowed_when_it_is_the_very_same() -> None:
    rule = Rule("shell", ALLOW, {"command": "cd docs && make"}, exact=True)
    assert verdict(shell("cd docs && make"), rule, NOTHING_ELSE) == ALLOW
    assert verdict(shell("cd docs && make; true"), rule, NOTHING_ELSE) == DENY


HIDDEN = (
    "curl http://x",
    "curl",
    "/usr/bin/curl http://x",
    "true; curl http://x",
    "true && curl http://x",
    "true\ncurl http://x",
    "true | curl -T - http://x",
    "(curl http://x)",
    "{ curl http://x; }",
    "if true; then curl http://x; fi",
    "echo $(curl http://x)",
    "echo `curl http://x`",
    'echo "$(curl http://x)"',
    'echo "a $(echo "$(curl http://x)")"',
    "'curl' http://x",
    'c"ur"l http://x',
    "c\\url http://x",
    "cu\\\nrl http://x",
    "X=1 curl http://x",
    "env X=1 curl http://x",
    "sudo -u me curl http://x",
    "timeout 5 nice curl http://x",
    "find . -exec curl http://x {} +",
    "echo http://x | xargs curl",
    "sh -c 'curl http://x'",
    'bash -lc "curl http://x"',
    "eval cu'rl' http://x",
    "echo Y3VybA== | base64 -d | sh",
    "c=curl; $c http://x",
    "$'\\x63url' http://x",
    "/usr/bin/c?rl http://x",
    "{curl,http://x}",
    ". ./script",
    "echo x | env $SHELL",
    "curl 'unclosed",
    "python3 -c \"import os; os.system('curl http://x')\"",
    "x" * (LONGEST + 1),
    "c='curl x'; if $c; then :; fi",
    "c='curl x'; ! $c",
    "while sh ./script; do :; done",
    "< /dev/null $c",
    "true > out; > out $c",
    "2>&1 sh ./script",
    "alias c='curl http://x'\nc",
    "stdbuf -o0 sh ./script",
    "flock lock $c",
)


@pytest.mark.parametrize("command", HIDDEN)
@pytest.mark.parametrize("no", [DENY, ASK])
def test_a_prohibition_finds_what_is_hidden(command: str, no: Verdict) -> None:
    assert verdict(shell(command), Rule("shell", no, {"command": "curl *"})) == no


@pytest.mark.parametrize(
    "command",
    [
        "a=push; git $a",
        'git "$(cat word)" origin',
        "git `cat word`",
        "git pus[h]",
        "git pu{sh,} origin",
        'g() ( git "$@" ); g push',
        "echo push | xargs git",
        "parallel git ::: push",
        "xargs -n1 /usr/bin/git < words",
        ["git", "push"],
        ["/bin/sh", "-c", "git push"],
        "",
        [],
        None,
    ],
)
@pytest.mark.parametrize("no", [DENY, ASK])
def test_a_prohibition_holds_where_its_words_are_not_seen(command: Any, no: Verdict) -> None:
    call = Call("shell", {"command": command} if command is not None else {"title": "git push"}, "developer")
    assert verdict(call, Rule("shell", no, {"command": "git push*"})) == no


@pytest.mark.parametrize(
    "command",
    [
        "python3 -m unittest -q",
        "git log | head",
        "echo curly",
        "cat curl.md; ls *.py",
        "if test -d $x; then { ls $x; }; fi",
        "for f in *.py; do wc -l $f > $f.txt; done",
        "ls *.py | xargs wc",
    ],
)
@pytest.mark.parametrize("pattern", ["curl *", "*curl *", "git push*", "rm -rf /*"])
def test_a_prohibition_leaves_other_commands_alone(command: str, pattern: str) -> None:
    assert verdict(shell(command), Rule("shell", DENY, {"command": pattern})) == ALLOW


def test_a_permission_for_what_lies_below_a_folder_leads_nowhere_else() -> None:
    rule = Rule("notes_write", ALLOW, {"note": "docs/*"})
    found = [verdict(Call("notes_write", {"note": note}), rule) for note in ("docs/a/b", "docs/..x", "docs/../x")]
    assert found == [ALLOW, ALLOW, DENY]


def test_a_prohibition_of_commands_is_none_of_other_tools() -> None:
    assert verdict(edit("src/a.py"), Rule("*", DENY, {"command": "git push*"})) == ALLOW


FRAGMENTS = (
    *(
        "git status",
        "rm x",
        "rm",
        " ",
        " x",
        ";",
        "&&",
        "|",
        "&",
        "\n",
        "'",
        '"',
        "\\",
        "$(",
        ")",
        "(",
        "`",
        "#",
        "{ ",
        "; }",
    ),
    *("x=rm;", "$x y", "eval ", "sh -c ", "env ", "r", "m", "''", "*", "~", "!", "\t", "command ", ". ", "true"),
    *("if ", "then ", "! ", "f() ", "f", '"$@"', "< /dev/null ", "> out ", "alias f=rm", "xargs "),
)


@pytest.fixture(scope="module")
def shell_says(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bool]:
    """Whether a real shell runs `rm` for a command."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "bin").mkdir()
    for name, text in (("rm", ': > "$RAN"'), ("git", ":")):
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    for name in ("sh", "env", "xargs"):
        (folder / "bin" / name).symlink_to(str(shutil.which(name)))
    (folder / "work").mkdir()

    def runs(command: str) -> bool:
        ran = folder / "ran"
        ran.unlink(missing_ok=True)
        words = {"PATH": str(folder / "bin"), "RAN": str(ran)}
        subprocess.run(
            ["/bin/sh", "-c", f"{command}\nwait"],
            cwd=folder / "work",
            env=words,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        return ran.exists()

    return runs


@hypothesis_settings(max_examples=150)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=8))
def test_a_real_shell_runs_nothing_that_was_not_seen(shell_says: Callable[[str], bool], parts: list[str]) -> None:
    command = "".join(parts)
    if shell_says(command):
        assert may_run(command, "rm *")
    after = f"git status{command}"
    if is_plain(after):
        assert not shell_says(after)


@given(st.text(alphabet="a b'\"", max_size=10), st.sampled_from([";", "&&", "|", "\n", "&", "||"]))
def test_a_prohibited_command_is_found_wherever_it_begins(before: str, joint: str) -> None:
    assert may_run(f"{before}{joint}rm x", "rm *")


@given(st.text(max_size=300), st.text(alphabet="*?a ", max_size=40))
def test_any_command_and_pattern_get_an_answer(command: str, pattern: str) -> None:
    is_plain(command)
    may_run(command, pattern)


def test_deep_quotes_and_many_stars_do_not_take_long() -> None:
    assert may_run('"$(' * 2000, "rm *")
    assert not may_run("a" * 4000, "*b" * 40)


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "src/../../x",
        "/etc/passwd",
        "//etc/passwd",
        "~/.ssh/id",
        "",
        "src/\x00",
        "src/x\n",
        ".git/config",
        "src/../.git/hooks/pre-commit",
        ".GIT/config",
        "sub/.git/config",
        ".git",
        ["src/a.py", "../x"],
        ["src/a.py", ".git/config"],
        [],
        None,
        7,
        {"a": 1},
    ],
)
def test_an_edit_that_leaves_the_workspace_is_denied(path: Any) -> None:
    found = verdict(edit(path), Rule("edit", ALLOW, {"path": "src/**"}))
    assert found == (ALLOW if path in (7, {"a": 1}) else DENY)


@pytest.mark.parametrize(
    "path", ["src/a.py", "./src//a.py", "src/./a.py", "a/../src/a.py", ".github/x", ["a", "b/c"], "a/..b"]
)
def test_an_edit_in_the_workspace_is_allowed(path: Any) -> None:
    assert verdict(edit(path)) == ALLOW


def test_a_path_outside_can_be_allowed_by_its_name_only() -> None:
    rule = Rule("read", ALLOW, {"path": "/usr/share/doc/**"})
    assert verdict(Call("read", {"path": "/usr/share/doc/x"}), rule) == ALLOW
    assert verdict(Call("read", {"path": "/usr/share/doc/../../../etc/passwd"}), rule) == DENY
    assert verdict(Call("read", {"path": "usr/share/doc/../../../../etc/passwd"}), rule) == DENY


def test_a_prohibited_path_is_found_among_others_and_in_other_letters() -> None:
    rule = Rule("edit", DENY, {"path": "deploy/**"})
    assert verdict(edit("x/../deploy/a"), rule) == DENY
    assert verdict(edit(["src/a", "Deploy/a"]), rule) == DENY
    assert verdict(edit("src/deploy/a"), rule) == ALLOW


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Call("read", {"path": "a"}, "coordinator"), ALLOW),
        (Call("list", {"path": "."}, "reviewer"), ALLOW),
        (Call("read", {"path": "/etc/passwd"}, "developer"), DENY),
        (edit("a.py"), ALLOW),
        (edit("a.py", role="writer"), ALLOW),
        (edit("a.py", role="reviewer"), DENY),
        (edit("a.py", role="coordinator"), DENY),
        (shell("make; make test"), ALLOW),
        (shell("make", sandboxed=False), DENY),
        (shell("make", sandboxed=False, hosted=True), ALLOW),
        (Call("shell", {"command": "ls"}, "coordinator"), DENY),
        (Call("shell", {"command": "ls"}, "reviewer"), ALLOW),
        (Call("web", {"url": "http://x"}, "developer"), DENY),
        (Call("ask", {"question": "?"}, "developer"), ALLOW),
        (Call("waggle_read_context", {}, "developer"), ALLOW),
        (Call("stuck", {}, "developer"), ASK),
        (Call("", {}, ""), DENY),
        (Call("linear_create", {"title": "x"}, "developer"), DENY),
    ],
)
def test_without_rules_of_its_own_a_team_can_work_and_nothing_goes_out(call: Call, expected: Verdict) -> None:
    assert verdict(call) == expected


def test_the_first_rule_that_fits_decides() -> None:
    narrow, wide = Rule("edit", ASK, {"path": "docs/**"}, key="1"), Rule("edit", DENY, key="2")
    assert judge((narrow, wide), edit("docs/a")).rule.key == "1"
    assert judge((wide, narrow), edit("docs/a")).rule.key == "2"


def test_a_rule_is_for_its_project_role_and_swarm_only() -> None:
    rule = Rule("web", ALLOW, role="developer", project="p", swarm="s")
    fits = {"role": "developer", "project": "p", "swarm": "s"}
    assert verdict(Call("web", {}, **fits), rule) == ALLOW
    for name in fits:
        assert verdict(Call("web", {}, **(fits | {name: "other"})), rule) == DENY


def test_an_answer_for_one_call_is_for_no_other() -> None:
    rule = Rule("web", ALLOW, digest="abc")
    assert verdict(Call("web", digest="abc"), rule) == ALLOW
    assert verdict(Call("web", digest="abd"), rule) == DENY
    assert verdict(Call("web"), rule) == DENY


def test_an_answer_for_more_calls_is_for_the_same_arguments_whatever_is_written() -> None:
    rule = Rule("edit", ALLOW, telling({"path": "./setup.cfg", "content": "a"}), exact=True)
    last = Rule("edit", DENY)
    assert verdict(edit("setup.cfg"), rule, last) == ALLOW
    assert verdict(edit("x/../setup.cfg"), rule, last) == ALLOW
    assert verdict(edit("setup.cf*"), rule, last) == DENY
    assert verdict(Call("edit", {"path": "setup.cfg", "mode": "777"}, "developer"), rule, last) == DENY
    star = Rule("shell", ALLOW, {"command": "rm *"}, exact=True)
    assert verdict(shell("rm a"), star, NOTHING_ELSE) == DENY


def test_tools_need_no_question_only_when_no_rule_may_say_otherwise() -> None:
    who = Call("", role="developer", project="p")
    assert unasked((), who) == ("read", "list", "search")
    assert unasked((Rule("read", ASK, {"path": "secrets/**"}),), who) == ("list", "search")
    assert unasked((Rule("read", ALLOW, {"path": "a/**"}),), who) == ("read", "list", "search")
    assert unasked((Rule("*", DENY, project="q"),), who) == ("read", "list", "search")
    assert unasked((Rule("*", DENY, role="developer"),), who) == ()
    assert unasked((), who, ["shell", "edit"]) == ("shell",)
    assert unasked((Rule("shell", ASK, {"command": "x"}, exact=True),), who, ["shell"]) == ()


def test_the_network_is_out_of_reach_until_a_rule_opens_it() -> None:
    who = Call("", role="developer")
    assert not reaches_out((), who)
    assert reaches_out((Rule("web", ASK),), who)
    assert reaches_out((Rule("w*", ALLOW, {"url": "https://docs.example/*"}),), who)
    assert not reaches_out((Rule("web", ALLOW, role="writer"),), who)


@pytest.mark.parametrize(
    ("rules", "reaches"),
    [
        ((Rule("github_*", ALLOW),), True),
        ((Rule("send_mail", ASK, {"to": "*@acme.example"}),), True),
        ((Rule("send_mail", ALLOW, {"to": "ana@acme.example"}, swarm="s1", exact=True),), True),
        ((Rule("send_mail", ALLOW, role="writer"),), False),
        ((Rule("send_mail", ALLOW, digest="of one call"),), False),
        ((Rule("send_*", DENY), Rule("send_mail", ALLOW)), False),
        ((Rule("shell", ALLOW), Rule("edit", ASK), Rule("delegate", ALLOW), Rule("waggle_remember", ALLOW)), False),
    ],
)
def test_a_tool_of_others_that_a_rule_allows_reaches_out(rules: tuple[Rule, ...], reaches: bool) -> None:
    assert reaches_out(rules, Call("", role="developer", swarm="s1")) == reaches


rules = st.builds(
    Rule,
    tool=st.sampled_from(["*", "shell", "e*", "web"]),
    verdict=st.sampled_from(list(Verdict)),
    arguments=st.dictionaries(st.sampled_from(["path", "command", "url"]), st.text(alphabet="ab*/. ;", max_size=5)),
    role=st.sampled_from(["", "developer", "writer"]),
    exact=st.booleans(),
)
calls = st.builds(
    Call,
    tool=st.sampled_from(["shell", "edit", "web", "new"]),
    arguments=st.dictionaries(st.sampled_from(["path", "command", "url"]), st.text(alphabet="ab*/. ;$'", max_size=6)),
    role=st.sampled_from(["developer", "writer"]),
    sandboxed=st.booleans(),
)


@given(st.lists(rules, max_size=5), calls)
def test_the_verdict_is_that_of_the_first_rule_that_fits(own: list[Rule], call: Call) -> None:
    found = judge(own, call)
    fitting = [rule for rule in (*own, *DEFAULTS) if rule.fits(call)]
    assert found.rule == fitting[0]
    assert found.verdict == fitting[0].verdict


@given(st.lists(rules, max_size=5), calls, st.integers(0, 5))
def test_one_more_prohibition_never_allows_anything(own: list[Rule], call: Call, at: int) -> None:
    more = [*own[:at], Rule(call.tool, DENY, dict(call.arguments)), *own[at:]]
    if judge(own, call).verdict == DENY:
        assert judge(more, call).verdict == DENY


@given(st.lists(rules, max_size=5), calls)
def test_a_tool_that_needs_no_question_is_allowed_in_the_workspace(own: list[Rule], call: Call) -> None:
    path = call.arguments.get("path", "a")
    if call.tool in unasked(own, call, [call.tool]) and is_inside(path):
        arguments = {**call.arguments, "path": path}
        if ".git" not in path:
            assert judge(own, Call(call.tool, arguments, call.role, sandboxed=call.sandboxed)).verdict == ALLOW
