"""What a metric needs at a given load: a closed-form model over measured costs. Pure; talks to nothing."""
