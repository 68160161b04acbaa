"""How problems of reasoning-gym are drawn and judged; poziomka/tasks/logic/reasoning_gym.py makes tasks of them.

levels            which levels its curricula give
drawing           one problem from a name, behind a fence
upstream_patches  what is replaced in its generators while they draw
item_filters      which of its problems are passed over, as their answer is wrong or they are ill put
scoring_table     the table: how each data set is judged, and why; ruling: one row of it
checks/           answer_parsers: answers of which one is right, in whatever harmless spelling; approximations: answers
                  that are rounded; antiderivatives, puzzles, board_puzzles, move_puzzles, logic: of which many are
                  right

poziomka/tasks/reasoning_gym_package.py imports the package late.
"""
