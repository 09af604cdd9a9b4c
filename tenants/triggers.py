"""The database's half of a table of moves: a trigger that refuses every other change of state. Pure."""

from collections.abc import Collection

from tenants.states import Moves, terminal


def move_trigger(table: str, moves: Moves, ended: Collection[str] = ()) -> str:
    """SQL that lets `table.state` change only as `moves` says, and freezes rows that have ended.

    `ended` are states in which a row is frozen although a move may still lead out of them (a failed node that is tried
    again); terminal states are frozen in any case.
    """
    pairs = ", ".join(f"'{a}>{b}'" for a in sorted(moves) for b in sorted(moves[a]))
    frozen = ", ".join(f"'{state}'" for state in sorted(terminal(moves) | set(ended))) or "''"
    states = ", ".join(f"'{state}'" for state in sorted(moves))
    return f"""
ALTER TABLE {table} ADD CONSTRAINT {table}_known_state CHECK (state IN ({states}));
CREATE FUNCTION {table}_move() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  IF OLD.state = NEW.state THEN
    IF OLD.state IN ({frozen}) AND NEW IS DISTINCT FROM OLD THEN
      RAISE EXCEPTION '{table}: % has ended, the row is frozen', OLD.state USING ERRCODE = 'check_violation';
    END IF;
  ELSIF NOT (OLD.state || '>' || NEW.state = ANY (ARRAY[{pairs}]::text[])) THEN
    RAISE EXCEPTION '{table}: no move from % to %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $body$;
CREATE TRIGGER {table}_move BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_move();
"""


def drop_move_trigger(table: str) -> str:
    """Undo of `move_trigger`."""
    return (
        f"DROP TRIGGER {table}_move ON {table}; DROP FUNCTION {table}_move(); "
        f"ALTER TABLE {table} DROP CONSTRAINT {table}_known_state;"
    )
