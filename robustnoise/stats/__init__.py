"""Verdicts and intervals from per-image counts: how many of R fresh draws were right.

The unit is the image. `right` is an array of shape (n,) of counts in 0..draws; a deterministic victim has draws = 1.
Draws must be independent between images (a shared device seed makes every number here one about that device).
Functions are pure: randomness comes in as a numpy generator, results are NamedTuples of Python floats, nothing is
ever NaN. Everywhere n >= 1, draws >= 1 and confidence lies inside (0, 1); whatever is outside its range raises
`BadParameter`. What couldn't be measured is None at the caller, so an empty array is an error here.
"""

from robustnoise.stats.again import same_chances as same_chances
from robustnoise.stats.common import Counts as Counts
from robustnoise.stats.common import Delta as Delta
from robustnoise.stats.common import Floats as Floats
from robustnoise.stats.common import Interval as Interval
from robustnoise.stats.paired import non_inferiority as non_inferiority
from robustnoise.stats.paired import paired_delta as paired_delta
from robustnoise.stats.paired import superiority as superiority
from robustnoise.stats.power import Resolution as Resolution
from robustnoise.stats.power import resolution as resolution
from robustnoise.stats.power import smallest_delta as smallest_delta
from robustnoise.stats.power import too_few as too_few
from robustnoise.stats.resampling import accuracy_interval as accuracy_interval
from robustnoise.stats.resampling import mean_interval as mean_interval
from robustnoise.stats.resampling import worst_interval as worst_interval
from robustnoise.stats.scores import clopper_pearson_low as clopper_pearson_low
from robustnoise.stats.scores import mcnemar as mcnemar
from robustnoise.stats.scores import tango as tango
from robustnoise.stats.scores import wilson as wilson
from robustnoise.stats.several import holm as holm
from robustnoise.stats.success import Success as Success
from robustnoise.stats.success import attack_success as attack_success
from robustnoise.stats.variance import Repeat as Repeat
from robustnoise.stats.variance import VarianceSplit as VarianceSplit
from robustnoise.stats.variance import variance_split as variance_split
from robustnoise.stats.verdicts import always_wrong as always_wrong
from robustnoise.stats.verdicts import any_fail as any_fail
from robustnoise.stats.verdicts import least_case as least_case
from robustnoise.stats.verdicts import single as single
from robustnoise.stats.verdicts import worst_case as worst_case
