"""Questions and answers: values at an instant, spans and changes, as models, JSON and Arrow tables."""
