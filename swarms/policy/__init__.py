"""Whether an agent may use a tool: rules and a call in, a verdict out. Pure."""
