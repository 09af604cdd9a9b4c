"""The database's half of a table of moves: a trigger that refuses every other change of state. Pure."""

from collections.abc import Collection, Mapping, Sequence

from tenants.states import Moves, terminal


def move_trigger(
    table: str,
    moves: Moves,
    ended: Collection[str] = (),
    words: Mapping[str, Collection[str]] | None = None,
    rules: str = "",
    fixed: Sequence[str] = (),
    checks: Mapping[str, str] | None = None,
) -> str:
    """SQL that lets `table.state` change only as `moves` says, and freezes rows that have ended.

    `ended` are states in which a row is frozen although a move may still lead out of them (a failed node that is tried
    again); terminal states are frozen in any case. `words` are other columns, each with the words that it may hold;
    `rules` are statements of PL/pgSQL that refuse more; `fixed` columns are what they were when the row was made.
    `checks` are CHECK constraints of the table by their names, which the trigger takes over: what must hold of `NEW`.

    They and known words are looked at here because the text of a CHECK is parsed anew by each statement that writes the
    table, which costs the engine more than its own work; a function is parsed once a connection.
    """
    pairs = _texts({f"{a}>{b}" for a in moves for b in moves[a]})
    frozen = _texts(terminal(moves) | set(ended))
    return f"""
CREATE FUNCTION {table}_move() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.state <> ALL ({_texts(moves)}) THEN
      RAISE EXCEPTION '{table}: there is no state %', NEW.state USING ERRCODE = 'check_violation';
    END IF;
  ELSIF OLD.state = NEW.state THEN
    IF OLD.state = ANY ({frozen}) AND NEW IS DISTINCT FROM OLD THEN
      RAISE EXCEPTION '{table}: % has ended, the row is frozen', OLD.state USING ERRCODE = 'check_violation';
    END IF;
  ELSIF OLD.state || '>' || NEW.state <> ALL ({pairs}) THEN
    RAISE EXCEPTION '{table}: no move from % to %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
  END IF;{_known(table, words or {})}{_fixed(table, fixed)}{_checked(table, checks or {})}{rules}
  RETURN NEW;
END $body$;
CREATE TRIGGER {table}_move BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_move();
{_altered(table, [f"DROP CONSTRAINT {name}" for name in checks or {}])}"""


def _known(table: str, words: Mapping[str, Collection[str]]) -> str:
    return "".join(
        f"""
  IF (TG_OP = 'INSERT' OR NEW.{column} <> OLD.{column}) AND NEW.{column} <> ALL ({_texts(allowed)}) THEN
    RAISE EXCEPTION '{table}: there is no {column} %', NEW.{column} USING ERRCODE = 'check_violation';
  END IF;"""
        for column, allowed in words.items()
    )


def _fixed(table: str, columns: Sequence[str]) -> str:
    if not columns:
        return ""
    new, old = (", ".join(f"{row}.{column}" for column in columns) for row in ("NEW", "OLD"))
    return f"""
  IF TG_OP = 'UPDATE' AND ({new}) IS DISTINCT FROM ({old}) THEN
    RAISE EXCEPTION '{table}: {", ".join(columns)} never change' USING ERRCODE = 'check_violation';
  END IF;"""


def _checked(table: str, checks: Mapping[str, str]) -> str:
    if not checks:
        return ""
    each = "".join(
        f"""
    IF NOT ({rule}) THEN
      RAISE EXCEPTION '{table}: % violates {name}', NEW.id USING ERRCODE = 'check_violation', CONSTRAINT = '{name}';
    END IF;"""
        for name, rule in checks.items()
    )
    return f"""
  IF NOT ({" AND ".join(f"({rule})" for rule in checks.values())}) THEN{each}
  END IF;"""


def _altered(table: str, changes: Sequence[str]) -> str:
    return f"ALTER TABLE {table} {', '.join(changes)};" if changes else ""


def drop_move_trigger(table: str, checks: Mapping[str, str] | None = None) -> str:
    """Undo of `move_trigger`."""
    again = [f"ADD CONSTRAINT {name} CHECK ({rule.replace('NEW.', '')})" for name, rule in (checks or {}).items()]
    return f"DROP TRIGGER {table}_move ON {table}; DROP FUNCTION {table}_move(); {_altered(table, again)}"


def _texts(words: Collection[str]) -> str:
    return f"ARRAY[{', '.join(repr(str(word)) for word in sorted(words))}]::text[]"
