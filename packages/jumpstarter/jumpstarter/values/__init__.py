"""Python values on the wire: `native` between our own peers, `compat` towards 0.9.0."""
