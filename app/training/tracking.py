class Tracker:
    def record_epoch(self, *a):
        pass


def open_tracker(*a):
    return Tracker()
