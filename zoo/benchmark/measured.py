"""What the layer benchmark measured, by case."""


class Layers:
    """The rows of the layer benchmark, by what was measured."""

    def __init__(self, rows):
        self.rows = {}
        for row in rows:
            engine = row["engine"]
            if engine == "torch":  # Measured beside TensorFlow.
                engine = "tensorflow"
            case = row["map"], row["width"], row["batch"]
            key = engine, row["dtype"], *case
            self.rows.setdefault(key, {})[row["subject"]] = row

    def cases(self, engine="tensorflow", dtype="float32"):
        """Yield `(map, width, batch)` and the subjects measured there."""
        for (*how, size, width, batch), subjects in self.rows.items():
            if how == [engine, dtype]:
                yield (size, width, batch), subjects


def ratio(subjects, over, under, mode):
    """Return the best time of one subject over another's, or `None`."""
    if over not in subjects or under not in subjects:
        return None
    key = f"{mode}_best_ms"
    return subjects[over][key] / subjects[under][key]


def least_step(row, rate):
    """Milliseconds of three times the forward pass's products at a rate."""
    return 3 * row["macs"] * row["batch"] / rate * 1e3
