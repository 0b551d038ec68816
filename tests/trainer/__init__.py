import filterd_trainer  # noqa: F401 # before torch: it says how its threads are to wait
