"""Suspicions about a row or a victim, as data: what raises each, what it means, what to do.

`raised` looks at a row and the others of its victim, `checks` at an audit. Both are pure functions of counts.
"""

from robustnoise.flags.ladder import IMPOSSIBLE as IMPOSSIBLE
from robustnoise.flags.ladder import PASSED as PASSED
from robustnoise.flags.ladder import RAISED as RAISED
from robustnoise.flags.ladder import Check as Check
from robustnoise.flags.ladder import blocking as blocking
from robustnoise.flags.ladder import checks as checks
from robustnoise.flags.ladder import raised_by as raised_by
from robustnoise.flags.rows import raised as raised
from robustnoise.flags.table import ALPHA as ALPHA
from robustnoise.flags.table import FLAGS as FLAGS
from robustnoise.flags.table import MATTERS as MATTERS
from robustnoise.flags.table import OF_ATTACKS as OF_ATTACKS
from robustnoise.flags.table import Flag as Flag
from robustnoise.flags.table import Raised as Raised
from robustnoise.flags.table import blocks as blocks
