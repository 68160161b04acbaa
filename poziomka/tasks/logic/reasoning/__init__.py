"""Drawing and scoring of reasoning-gym problems; poziomka/tasks/logic/reasoning_gym.py makes tasks of them.

levels            the steps of the package's curricula that are used as levels
drawing           draws one problem from a seed, isolated from the rest of the program
upstream_patches  replacements for parts of the package's generators while they draw
item_filters      leaves out problems whose answer is wrong or whose question is ambiguous
scoring_table     the table of scoring rules by data set, with reasons; ruling: the class of one rule
checks/           answer_parsers: normalized forms of single right answers; approximations: rounded answers;
                  antiderivatives, puzzles, board_puzzles, move_puzzles, logic: problems with many right answers

poziomka/tasks/reasoning_gym_package.py imports the package lazily.
"""
