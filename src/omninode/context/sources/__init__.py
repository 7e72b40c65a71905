"""The sources that ship: three over the workspace, one over HTTP, one over what was learned."""
