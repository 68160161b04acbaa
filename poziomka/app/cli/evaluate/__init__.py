"""`poziomka evaluate`: the accuracy of a run or a model on a task, with its rollouts saved."""
