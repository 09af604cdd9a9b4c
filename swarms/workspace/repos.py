"""The bare repository that the control plane keeps of each project."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.conf import settings

from swarms.models import Project
from swarms.workspace.git import GitError, beginning, configured, git
from swarms.workspace.sources import Reach, reach
from tenants.context import current_schema

MOST_DIFF = 2_000_000
"""Bytes of a diff that are read: an agent may have changed any amount of text."""
CUT = "… and more: this change is too long to be shown whole. Fetch the branch to see the rest."
HOOK = """#!/bin/sh
# Only the ref of the attempt whose token was shown may be pushed; deleting is refused by receive.denyDeletes.
while read -r old new ref; do
  if [ -z "$WAGGLE_MAY_PUSH" ] || [ "$ref" != "$WAGGLE_MAY_PUSH" ]; then
    echo "this token may push ${WAGGLE_MAY_PUSH:-nothing}, not $ref" >&2
    exit 1
  fi
done
"""


@dataclass(frozen=True)
class Merged:
    """What merging two commits gives: a commit, or the paths in conflict."""

    commit: str
    conflicts: tuple[str, ...] = ()


def path_of(project_id: UUID) -> Path:
    """Where the repository of one of this team's projects lies."""
    return folder_of(current_schema()) / f"{project_id}.git"


def folder_of(schema: str) -> Path:
    """Where the repositories of a team lie."""
    return Path(settings.DATA_DIR) / "repos" / schema


def fetch(project: Project) -> str:
    """Copy the source's branches into our repository. Returns the head of the target branch. Raises GitError."""
    path, way = path_of(project.id), reach(project.source)
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    if not (path / "HEAD").exists():
        shutil.rmtree(path, ignore_errors=True)
        git(None, "init", "--quiet", "--bare", f"--initial-branch={project.target_branch}", str(path))
    hook = path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK)
    hook.chmod(0o755)
    for name, value in (
        ("http.receivepack", "true"),
        ("uploadpack.allowAnySHA1InWant", "true"),
        ("receive.fsckObjects", "true"),
        ("gc.auto", "0"),
    ):
        git(path, "config", name, value)
    git(
        path,
        "fetch",
        "--quiet",
        "--prune",
        "--no-tags",
        way.address,
        "+refs/heads/*:refs/remotes/source/*",
        env=_allowing(way),
        timeout=600,
    )
    head = commit_of(project.id, f"refs/remotes/source/{project.target_branch}")
    if not head:
        names = git(path, "for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes/source").stdout.split()
        raise GitError(
            f"there is no branch '{project.target_branch}' in {project.shown_source}; "
            + (f"it has {', '.join(names[:10])}" if names else "it has no branches at all: make a first commit")
        )
    set_ref(project.id, f"refs/heads/{project.target_branch}", head)
    return head


def _allowing(way: Reach) -> dict[str, str]:
    return configured(way.config) | {"GIT_ALLOW_PROTOCOL": way.protocols}


def is_branch_name(name: str) -> bool:
    """Whether git takes this as the name of a branch."""
    return git(None, "check-ref-format", f"refs/heads/{name}", allow=(0, 1)).returncode == 0


def commit_of(project_id: UUID, ref: str) -> str:
    """The commit of a ref; empty when there is none."""
    done = git(
        path_of(project_id),
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{ref}^{{commit}}",
        allow=(0, 1, 128),
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def set_ref(project_id: UUID, ref: str, commit: str, *, was: str | None = None) -> bool:
    """Point a ref at a commit, if it is where `was` says. Returns whether it is there now."""
    args = [ref, commit] if was is None else [ref, commit, was]
    return git(path_of(project_id), "update-ref", *args, allow=(0, 1, 128)).returncode == 0


def delete_refs(project_id: UUID, prefix: str) -> None:
    """Forget all refs below a prefix."""
    path = path_of(project_id)
    for ref in git(path, "for-each-ref", "--format=%(refname)", prefix).stdout.split():
        git(path, "update-ref", "-d", ref)


def changed_files(project_id: UUID, base: str, head: str) -> list[str]:
    """Paths that differ between two commits; both sides of a rename."""
    done = git(path_of(project_id), "diff", "--name-only", "--no-renames", "-z", base, head)
    return [name for name in done.stdout.split("\0") if name]


def diff(project: Project, base: str, head: str, *, context: int = 3) -> str:
    """Unified diff of two commits; empty when one is unknown. A very long one is cut, and its last file says so."""
    if not base or not head:
        return ""
    words = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", f"-U{context}", base, head)
    text, is_cut = beginning(path_of(project.id), *words, most=MOST_DIFF)
    return text + (f"\ndiff --git a/ b/{CUT}\n" if is_cut else "")


def file_list(project: Project, commit: str, *, limit: int = 400) -> list[str]:
    """Paths in a commit, at most `limit`."""
    done = git(path_of(project.id), "ls-tree", "-r", "--name-only", "-z", commit)
    return [name for name in done.stdout.split("\0") if name][:limit]


def is_ancestor(project_id: UUID, ancestor: str, commit: str) -> bool:
    """Whether `commit` contains `ancestor`."""
    return git(path_of(project_id), "merge-base", "--is-ancestor", ancestor, commit, allow=(0, 1, 128)).returncode == 0


def log(project_id: UUID, base: str, head: str) -> list[str]:
    """One line for each commit in `head` that is not in `base`, newest first."""
    return git(path_of(project_id), "log", "--format=%h %s", f"{base}..{head}").stdout.splitlines()


def merge(project_id: UUID, onto: str, commit: str, message: str) -> Merged:
    """Merge `commit` onto `onto` without a work tree (git merge-tree); nothing but objects is written."""
    path = path_of(project_id)
    done = git(path, "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", onto, commit, allow=(0, 1))
    tree, *names = [part for part in done.stdout.split("\0") if part]
    if done.returncode == 1:
        return Merged("", tuple(sorted(set(names))))
    # The same inputs give the same commit: a merge that is made again after a crash changes nothing.
    when = git(path, "show", "-s", "--format=%ct", commit).stdout.strip()
    dates = {"GIT_AUTHOR_DATE": f"{when} +0000", "GIT_COMMITTER_DATE": f"{when} +0000"}
    made = git(path, "commit-tree", tree, "-p", onto, "-p", commit, "-m", message, env=dates)
    return Merged(made.stdout.strip())


def revert(project_id: UUID, onto: str, merge: str, message: str) -> Merged:
    """Take a merge that `onto` contains back on it without a work tree; nothing but objects is written."""
    path = path_of(project_id)
    # `git merge-tree` chooses the base of three itself: a child of the merge with the tree from before makes it the
    # merge.
    when = git(path, "show", "-s", "--format=%ct", onto).stdout.strip()
    dates = {"GIT_AUTHOR_DATE": f"{when} +0000", "GIT_COMMITTER_DATE": f"{when} +0000"}
    before = git(path, "commit-tree", f"{merge}^1^{{tree}}", "-p", merge, "-m", "before", env=dates).stdout.strip()
    done = git(path, "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", onto, before, allow=(0, 1))
    tree, *names = [part for part in done.stdout.split("\0") if part]
    if done.returncode == 1:
        return Merged("", tuple(sorted(set(names))))
    made = git(path, "commit-tree", tree, "-p", onto, "-m", message, env=dates)
    return Merged(made.stdout.strip())


def push(project: Project, commit: str) -> str:
    """Bring a landed commit to the project's source. Returns what happened, in words; empty words mean success."""
    extra = []
    if "://" not in project.source:
        # A source that is a checked-out folder on this machine: let its work tree follow, if it is clean.
        extra = ["--receive-pack=git -c receive.denyCurrentBranch=updateInstead receive-pack"]
    try:
        way = reach(project.source)
        git(
            path_of(project.id),
            "push",
            "--quiet",
            *extra,
            way.address,
            f"{commit}:refs/heads/{project.target_branch}",
            env=_allowing(way),
            timeout=300,
        )
    except GitError as error:
        return f"not pushed to {project.shown_source}: {error}"
    return ""
