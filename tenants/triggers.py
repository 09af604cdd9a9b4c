"""The database's half of a table of moves: a trigger that refuses every other change of state. Pure."""

from tenants.states import Moves, terminal


def move_trigger(table: str, moves: Moves) -> str:
    """SQL that lets `table.state` change only as `moves` says, and freezes rows in a terminal state."""
    pairs = ", ".join(f"'{a}>{b}'" for a in sorted(moves) for b in sorted(moves[a]))
    ended = ", ".join(f"'{state}'" for state in sorted(terminal(moves))) or "''"
    states = ", ".join(f"'{state}'" for state in sorted(moves))
    return f"""
ALTER TABLE {table} ADD CONSTRAINT {table}_known_state CHECK (state IN ({states}));
CREATE FUNCTION {table}_move() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  IF OLD.state IN ({ended}) AND NEW IS DISTINCT FROM OLD THEN
    RAISE EXCEPTION '{table}: % is terminal, the row is frozen', OLD.state USING ERRCODE = 'check_violation';
  END IF;
  IF OLD.state <> NEW.state AND NOT (OLD.state || '>' || NEW.state = ANY (ARRAY[{pairs}]::text[])) THEN
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
