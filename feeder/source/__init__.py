"""Reading a topic: subscriptions, Readers, what a broker holds, and the dead-letter topic."""
