"""How problems of reasoning-gym are drawn and judged; poziomka/tasks/logic/reasoning_gym.py makes tasks of them.

package   the package, imported late
steps     which levels its curricula give
drawing   one problem from a name, behind a fence
mending   what is replaced in its generators while they draw
soundness which of its problems are passed over, as their answer is wrong or they are ill put
rulings   the table: how each data set is judged, and why; ruling: one row of it
forms     answers of which one is right, in whatever harmless spelling
approximations: answers that are rounded; antiderivatives, puzzles, boards, journeys, logic: of which many are right
"""
