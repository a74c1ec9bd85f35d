"""Key archives: the workflow that holds evicted keys, and the activities that store and fetch them."""
