import trainer as trainer  # before torch: it says how its threads are to wait
