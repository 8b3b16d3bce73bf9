"""Reasons as chat models would write them, written without a look at the code that reads them.

Three sets, each written and measured before what it found was mended. False claims found of those flagged (precision)
and of those planted (recall), and how far off faithfulness was, when each set was new, at 10 to 50 % of false claims:
`FIRST` .67 to .88, .78 to .86, 2.7 to 4.2 points; `SECOND` .61 to .88, .88 to .92, 1.5 to 5.2 points; `THIRD` .63 to
.88, .82 to .84, 1.0 to 4.6 points. So much is to be expected of wordings that nobody has seen; the tests hold that what
was mended stays so. Whoever wrote `SECOND` and `THIRD` had seen the code. Of each some claims were labelled anew
afterwards.

Each line is a text and the claims in it: a category, what is said of it, and numbers or another category. "?" before a
claim: it is true in what is made, and may be found or not. Truth is decided here, with a margin: of a case that people
might differ on nothing is made.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lerl.planners.llm.prompt import EXPOSURES
from tests.lerl.llm.audit.made_reasons import Session, session

FIRST = """
{a} and {b} are well liked and fresh; give {c} a rest. | a liked; b liked; a fresh; b fresh; c avoided
Focus on {a} and {b}, which have high liking and low exposure.
    | a liked; b liked; a lowexp; b lowexp; a allowed; b allowed
{a} has heavy exposure so avoid it; {b} is liked and barely shown. | a heavy; a avoided; b liked; b lowexp
User likes {a} most; {b} and {c} add variety with little exposure. | a top_liked; b lowexp; c lowexp
{a} ({n1}% liking, exposure {n2}) is the strongest option; rest {b}.
    | a pct n1; a exp n2; b avoided; ?a allowed; ?a top_liked
{a} was clicked {n1} of {n2} times, more than promised. | a clickof n1 n2; a over
Fewer clicks than promised on {a}, so the user is likely tired of it. | a under; a tired
{a}: clicked {n1}/{n2}, promised {n3}; overperforming. | a clickof n1 n2; a prom n3; a over
{a} clicked {n1} vs {n2} promised, suggests fatigue. Switch to {b}. | a clicks n1; a prom n2; a tired; ?b allowed
Prioritize {a} and {b} for their high click chance, avoid {c} due to heavy exposure.
    | a liked; b liked; c avoided; c heavy; a allowed; b allowed
Allow {a}, {b} and {c}; avoid {d}. | a allowed; b allowed; c allowed; d avoided
Allowing {a} and {b} as they are best liked; {c} needs a rest after {n1} items.
    | a allowed; b allowed; a top2; b top2; c shown n1; ?c needrest
{a} has not been shown recently and is well liked. | a notshown; a liked
{a} hasn't been shown lately, so it is worth a try even though its liking is only {n1}%.
    | a notshown; a pct n1; ?a allowed
Rest {a} and {b}: both shown heavily of late. | a avoided; b avoided; a overshown; b overshown
The user has been overexposed to {a}; pivot to {b}. | a overshown; ?b allowed
The user is tired of {a} and {b}. | a tired; b tired
{a} is overexposed, {b} is underperforming, so I go with {c}. | a overshown; b under; c allowed
{a} is the most liked category and has no exposure yet. | a top_liked; a none
{a} is the least liked, skip. | a low_liked; a avoided
{a} is liked more than {b} and less exposed. | a more_liked b; a less_exp b
{a} has a higher liking than {b} but also more exposure. | a more_liked b; a more_exp b
{a} beats {b} on liking. | a more_liked b
High liking for {a}, {b}, {c}; none of them shown recently.
    | a liked; b liked; c liked; a notshown; b notshown; c notshown
Strong interest in {a} and {b}; {c} shows fatigue. | a liked; b liked; c tired
{a} liking is high, exposure none. | a liked; a none
{a} good liking light exposure; {b} poor liking. | a good; a light; b unliked
{a} still best with light exposure, {b} is good and unseen, {c} heavy -> rest.
    | a best; a light; b good; b none; c heavy; c avoided
Mix of liked and fresh categories; keep variety high. |
Balancing exploration and exploitation to maximise clicks over the session. |
Keep the user engaged by rotating topics before they get bored. |
Picked the categories with the best balance of liking and exposure. |
Variety helps to prevent fatigue while preserving click probability. |
Choosing top-liked categories with low exposure; avoiding heavily exposed ones. |
No history yet, so start with the strongest likings. |
Nothing shown yet; lead with {a} and {b}. | a allowed; b allowed
Start with {a}, then {b}. | a allowed; b allowed
Lead with {a} ({n1}%), back it up with {b} ({n2}%) and {c} ({n3}%).
    | a pct n1; b pct n2; c pct n3; a allowed; b allowed; c allowed
{a} {n1}%, {b} {n2}%, {c} {n3}% liking; low exposure. | a pct n1; b pct n2; c pct n3; a lowexp; b lowexp; c lowexp
{a} at {n1}% liking and {n2} exposure beats {b} at {n3}%. | a pct n1; a exp n2; b pct n3; ?a more_liked b
{a} has {n1} exposure, so rest it. | a exp n1; a avoided
{a} exposure {n1}, {b} exposure {n2}: both need rest. | a exp n1; b exp n2; a needrest; b needrest
{a} has been shown {n1} times with only {n2} clicks. | a shown n1; a clicks n2
{a}, shown {n1} times, got {n2} clicks against {n3} promised. | a shown n1; a clicks n2; a prom n3
{n1} clicks out of {n2} for {a} is below expectation. | a clickof n1 n2; a under
Only {n1} of {n2} {a} items were clicked. | a clickof n1 n2
User clicked {n1} of {n2} {a} items lately. | a clickof n1 n2
{a} got zero clicks despite being shown {n1} times. | a noclicks; a shown n1
{a} has been performing above its promise; keep it. | a over; a allowed
{a} outperforms expectations while {b} falls short. | a over; b under
{a} underperformed (clicked {n1}, promised {n2}), hinting at boredom. | a under; a clicks n1; a prom n2; a tired
Clicks on {a} fell short of what was promised. | a under
Clicks on {a} exceeded the promised {n1}. | a over; a prom n1
{a} delivered more clicks than promised. | a over
{a} met fewer clicks than promised; {b} is untouched. | a under; b none
{a} is not tired yet. | a nottired
{a} isn't overexposed, and its liking is strong. | a notover; a liked
{a} is not liked much. | a unliked
{a} is poorly liked so not worth the slot. | a unliked; ?a notallowed
User doesn't like {a} or {b}. | a unliked; b unliked
The user has little interest in {a}. | a unliked
Low liking for {a} and {b}; skip both. | a unliked; b unliked; a avoided; b avoided
{a} has low liking but zero exposure, worth a try. | a unliked; a none; ?a allowed
Neither {a} nor {b} has been shown lately. | a notshown; b notshown
{a}, {b} and {c} are rested and liked. | a fresh; b fresh; c fresh; a liked; b liked; c liked
{a} is well-rested. | a fresh
Give {a} and {b} a break, they've been shown a lot. | a avoided; b avoided; a overshown; b overshown
{a} needs a break. | a needrest
{a} is saturated; {b} is fresh and highly liked. | a overshown; b fresh; b liked
{a} saturated, {b} saturated -> pivot to {c}, {d}. | a overshown; b overshown; c allowed; d allowed
The user is bored of {a}, and {b} is a safe alternative with {n1}% liking. | a tired; b pct n1; ?b allowed
User fatigue on {a}; explore {b}. | a tired; b allowed
Explore {a} (never shown) and exploit {b} (liked). | a none; b liked; a allowed; b allowed
Fresh options {a} and {b} with good liking; cool down {c}. | a fresh; b fresh; a good; b good; c avoided
Avoid {a} since it was shown in most recent slates; choose {b} instead. | a avoided; a overshown; b allowed
{a} is excluded because of heavy exposure. | a avoided; a heavy
I excluded {a} and {b} because they are overexposed. | a avoided; b avoided; a overshown; b overshown
I have selected {a}, {b}, and {c} because they have the highest liking.
    | a allowed; b allowed; c allowed; a top3; b top3; c top3
I've chosen {a} as the top category given its high liking and zero exposure. | a allowed; a liked; a none
I recommend {a} and {b}, as the user has a strong liking for them and they have not been overused.
    | a allowed; b allowed; a liked; b liked; a notover; b notover
The user strongly prefers {a}, with {b} close behind. | a liked; ?b liked; ?a more_liked b
The user's favourite is {a}. | a top_liked
User's top category {a} is still fresh. | a top_liked; a fresh
{a} remains the user's favorite but needs a rest. | a top_liked; a needrest
{a} and {b} are the two most liked categories. | a top2; b top2
{a} has the highest liking ({n1}%). | a top_liked; a pct n1
{a} has the lowest liking. | a low_liked
{a} has the highest exposure, so it is avoided. | a top_exp; a avoided
{a} has the most exposure of all. | a top_exp
{a} is the most shown category, so rest it. | a top_shown; a avoided
{a} got the most clicks. | a top_clicks
{a} got more clicks than {b}. | a more_clicks b
{a} was shown more than {b}. | a more_shown b
{a} was shown less often than {b}. | a less_shown b
Although {a} is liked, it has been shown too often; {b} offers relief. | a liked; a overshown; ?b allowed
While {a} is best, its heavy exposure calls for {b} and {c}. | a best; a heavy; b allowed; c allowed
Despite heavy exposure, {a} keeps getting clicks. | a heavy; a clicked
Despite low exposure, {a} is poor. | a lowexp; a unliked
{a} is liked but tired; {b} is less liked but rested. | a liked; a tired; b fresh; b more_liked_rev a
{a} gets frequent clicks and is still light in exposure. | a often; a light
{a} is clicked often, keep it going. | a often; ?a allowed
{a} rarely clicked, skip. | a rarely; a avoided
{a} has been rarely clicked despite {n1} impressions. | a rarely; a shown n1
High CTR on {a}: {n1}/{n2}. | a often; a clickof n1 n2
{a}(liking {n1}, exp {n2}), {b}(liking {n3}, exp {n4}) | a pct n1; a exp n2; b pct n3; b exp n4
{a}=best, {b}=good, {c}=heavy exposure | a best; b good; c heavy
Best: {a}. Good: {b}. Avoid: {c}. | a best; b good; c avoided
allow {a},{b},{c}; rest {d},{e} | a allowed; b allowed; c allowed; d avoided; e avoided
liked+rested: {a}, {b}; tired: {c} | a liked; b liked; a fresh; b fresh; c tired
liked: {a}, {b}. overexposed: {c}. | a liked; b liked; c overshown
{a}/{b} liked, {c} tired | a liked; b liked; c tired
{a} high liking/low exposure, {b} medium exposure. | a liked; a lowexp; b medium
{a} medium exposure but best liking; {b} none exposure | a medium; a best; b none
{a} offers good potential with minimal exposure. | a liked; a lowexp
{a} has strong appeal and minimal recent exposure. | a liked; a lowexp
{a} and {b} have been absent from recent slates. | a notshown; b notshown
{a} appeared in the recent slates too often. | a overshown
{a} has been dominating the recent slates; time for {b} and {c}. | a overshown; b allowed; c allowed
{a} dominated recently. | a overshown
Rotate away from {a} (heavy) towards {b} (none) and {c} (light).
    | a heavy; b none; c light; a notallowed; ?b allowed; ?c allowed
Rotating in {a} and {b} to relieve fatigue from {c}. | a allowed; b allowed; c tired
{a} is unexplored. | a none
{a} and {b} unexplored, {c} proven with {n1} clicks. | a none; b none; c clicks n1; ?c clicked
{a} was tried {n1} times and clicked {n2} times. | a shown n1; a clicks n2
We showed {a} {n1} times lately and it was clicked {n2} times. | a shown n1; a clicks n2
{a}'s liking of {n1}% outweighs its exposure of {n2}. | a pct n1; a exp n2
With a liking of {n1}%, {a} is the obvious choice. | a pct n1; ?a allowed; ?a top_liked
At {n1}%, {a} is the best liked, followed by {b} at {n2}%. | a pct n1; a top_liked; b pct n2; b second_liked
Exposure to {a} is at {n1} already. | a exp n1
{a} has only {n1} slates of exposure. | a exp n1
Liking for {a} is {n1}% and exposure is {n2}. | a pct n1; a exp n2
{a} (shown {n1}, clicked {n2}) | a shown n1; a clicks n2
{a} {n1}/{n2} clicked, promised {n3}. | a clickof n1 n2; a prom n3
Promised {n1} but only {n2} clicked for {a}. | a prom n1; a clicks n2
{a} promised {n1} clicks and got {n2}. | a prom n1; a clicks n2
{a} is still under-exposed relative to its liking. | a lowexp
{a} and {b} show no signs of fatigue. | a nottired; b nottired
{a} shows signs of fatigue. | a tired
Signs of boredom with {a}. | a tired
There is no sign of fatigue for {a}. | a nottired
{a} seems exhausted. | a tired
People tire of a category shown often, so {a} should rest. | a avoided
Let {a} recover while we serve {b}. | a avoided; b allowed
Hold back {a} for now. | a avoided
Skip {a} for now; it was shown {n1} times. | a avoided; a shown n1
Keep {a} and {b}, drop {c}. | a allowed; b allowed; c avoided
Sticking with {a}, adding {b} for diversity. | a allowed; b allowed
{a} and {b} are safe picks; {c} is a gamble with no exposure.
    | c none; ?a liked; ?b liked; ?a allowed; ?b allowed; ?c allowed
Everything is light in exposure, so go by liking: {a} first. | a allowed
"""

SECOND = """
Prioritize high-liking, low-exposure categories ({a}, {b}) while resting overexposed {c}.
    | a liked; b liked; a lowexp; b lowexp; c avoided; c overshown; ?a allowed; ?b allowed
{a} has high liking and moderate exposure; {b} and {c} offer variety; avoid {d} due to overexposure.
    | a liked; a medium; d avoided; d overshown; ?b allowed; ?c allowed
Balance liked categories ({a}, {b}) with less exposed ones ({c}) to prevent fatigue.
    | a liked; b liked; ?c lowexp; ?a allowed; ?b allowed; ?c allowed
User has clicked on {a} more than expected, so allow it. Avoid {b} due to high exposure.
    | a over; ?a clicked; a allowed; b avoided; b overshown
{a} ({n1}%) is strongest and barely shown; {b} under-delivered ({n2} vs {n3} promised), so rest it.
    | a pct n1; a lowexp; b under; b clicks n2; b prom n3; b avoided; ?a top_liked
Since {a} has been heavily exposed, I chose {b} and {c} instead. | a heavy; b allowed; c allowed
{a} is a strong favorite with no recent exposure; pair it with {b}. | a liked; a notshown; b allowed; ?a allowed
The user clicked {n1} out of {n2} items in {a}, well above the promised {n3}. | a clickof n1 n2; a over; a prom n3
High-liking categories: {a}, {b}. Low exposure: {c}. Rest: {d}. | a liked; b liked; c lowexp; d avoided
Top 2 by liking are {a} and {b}; {c} is overexposed. | a top2; b top2; c overshown
Promote {a} (best, none), add {b} (good, light), and avoid {c} (heavy).
    | a best; a none; b good; b light; c heavy; a allowed; b allowed; c avoided
We avoid {a} because it has heavy exposure and we allow {b} because it has none.
    | a avoided; a heavy; b allowed; ?b none
{a} and {b} have the best liking-to-exposure ratio. |
Given limited history, explore broadly. |
Offering {a} and {b} to diversify; {c} needs time to recover. | a allowed; b allowed; ?c needrest
{a} was shown {n1} times but clicked only {n2}, so it should be paused. | a shown n1; a clicks n2; a avoided
{a} hasn't been shown at all, and with {n1}% liking it's worth testing. | a none; a pct n1; ?a allowed
{a} got {n1} clicks from {n2} showings, the user is engaged. | a clickof n1 n2
Users lose interest with repetition, so {a} is swapped for {b}. | ?a notallowed; ?b allowed
{a} is the best bet: liked, and not shown recently. | a liked; a notshown; ?a allowed; ?a top_liked
{a} remains attractive despite medium exposure. | ?a liked; a medium
{a} is both liked and under-shown. | a liked; a lowexp
{a} liking {n1}% exposure {n2}; {b} liking {n3}% exposure {n4}. | a pct n1; a exp n2; b pct n3; b exp n4
{a} is losing traction: {n1} clicks against {n2} promised. | a clicks n1; a prom n2; ?a under
{a} is beloved but needs rest due to heavy exposure; substitute with {b}. | a liked; ?a needrest; a heavy; b allowed
Recent clicks show {a} is doing better than promised. | a over
{a} is doing worse than predicted. | a under
{a} is no longer engaging; few clicks recently. | a rarely
Neither {a} nor {b} is well liked. | a unliked; b unliked
Not {a}: too much exposure. Instead {b} and {c}. | a overshown; b allowed; c allowed; ?a notallowed
{a} and {b} first, since both are liked and lightly exposed. | a liked; b liked; a light; b light; a allowed; b allowed
Keep {a}; it is liked and still has light exposure. Drop {b}, its liking is poor.
    | a allowed; a liked; a light; b avoided; b unliked
{a} has higher exposure than {b}, so prefer {b}. | a more_exp b; b allowed
{a} is preferred over {b}. | a more_liked b
{a} outscores {b} in liking ({n1}% vs {n2}%). | a more_liked b; a pct n1; b pct n2
Lowest exposure is {a}; highest liking is {b}. | a low_exp; b top_liked
Include {a} as a fresh alternative to {b}, which is tiring. | a allowed; a fresh; b tired
Including {a} for novelty, {b} and {c} for reliability. | a allowed; b allowed; c allowed
Selected {a} (liking: {n1}%, exposure: {n2}) and {b} (liking: {n3}%, exposure: {n4}).
    | a pct n1; a exp n2; b pct n3; b exp n4; a allowed; b allowed
{a} has seen heavy exposure lately; the user is probably tired of it. | a heavy; a tired
The user responded well to {a} ({n1}/{n2} clicked). | a clickof n1 n2; ?a often
{a} is popular with this user but overplayed. | a liked; a overshown
{a} unseen so far, good chance of clicks. | a none; a liked
Mixing {a} with {b} keeps the session varied without overloading {c}. | a allowed; b allowed; ?c notover
Maximize clicks by featuring {a}, {b}, and {c}. | a allowed; b allowed; c allowed
Minimize {a} exposure as user is fatigued by it; maximize {b}. | a tired; ?a notallowed; ?b allowed
Of the liked categories, {a} is the least exposed. | a liked; ?a low_exp
{a} and {b} were not shown in recent slates; {c} was. | a notshown; b notshown; c lately_p
User enjoys {a} and {b} and has seen little of {c}. | a liked; b liked; c lowexp
{a} is exhausted after {n1} showings, {b} is rested. | a tired; a shown n1; b fresh
"""

THIRD = """
Go with {a} and {b}: both are favoured and neither has been shown much.
    | a allowed; b allowed; a liked; b liked; a notover; b notover
I'm leaning on {a} because its liking ({n1}%) is the highest and it was barely used.
    | a pct n1; a top_liked; a lowexp; ?a allowed
{a} looks worn out, {n1} clicks in {n2} showings; rest it this round. | a tired; a clickof n1 n2; a avoided
{a} took {n1} clicks from {n2}, roughly what was promised. | a clickof n1 n2
{a} earns its place with {n1}% liking; {b} sits at {n2}%. | a pct n1; b pct n2; ?a allowed
Heavy exposure on {a} and {b} means they should sit out. | a heavy; b heavy; a notallowed; b notallowed
The user's top two, {a} and {b}, are included; {c} is held back. | a top2; b top2; a allowed; b allowed; c notallowed
Clicks on {a} have dried up ({n1} of {n2}). | a clickof n1 n2
{a}, {b}: liked and underexposed. {c}: overexposed. | a liked; b liked; a lowexp; b lowexp; c overshown
Leave {a} out, it has {n1} exposure already. | a notallowed; a exp n1
{a} over {b}: higher liking, lower exposure. | ?a more_liked b; ?a less_exp b
{a} is more liked than {b} but has been shown more. | a more_liked b; a more_shown b
{a} is less exposed than {b} and more liked. | a less_exp b; a more_liked b
The user hasn't seen {a} or {b} recently. | a notshown; b notshown
Not much exposure to {a} yet, and liking is good. | a lowexp; a good
{a}'s exposure is low while {b}'s is high. | a lowexp; ?b overshown
The least liked, {a}, is avoided. | a low_liked; a avoided
User shows strong engagement with {a} ({n1} clicks) and weak engagement with {b} ({n2} clicks).
    | a clicks n1; b clicks n2
{a} attracted {n1} clicks, {b} only {n2}. | a clicks n1; b clicks n2
Out of {n2} shown, {n1} {a} items were clicked. | a clickof n1 n2
{a} was promised {n1} clicks, it delivered {n2}. | a prom n1; a clicks n2
Expected {n1} clicks on {a}, saw {n2}. | a prom n1; a clicks n2
Allowed: {a}, {b}. Avoided: {c}, {d}. | a allowed; b allowed; c avoided; d avoided
{a} + {b} (liked), no {c} (tired). | a liked; b liked; c tired; ?a allowed; ?b allowed; c notallowed
Rotating: {a} in, {b} out. | a allowed; b notallowed
Diversify away from {a} into {b} and {c}. | a notallowed; b allowed; c allowed
{a} is well below its promised clicks, a sign of fatigue. | a under; a tired
{a} exceeds its promise and isn't tired. | a over; a nottired
{a} has room to grow: good liking, no exposure. | a good; a none
{a} is untouched lately, and the user loves it. | a notshown; a liked
The user does not care much for {a}. | a unliked
The user is not fond of {a}; skip it. | a unliked; a notallowed
{a} has poor liking so it's left out. | a unliked; a notallowed
Despite being the favourite, {a} must rest: exposure {n1}. | a top_liked; a exp n1; ?a avoided; ?a needrest
Of the options, {a} was clicked most. | a top_clicks
{a} is more tired than {b}. | a more_exp b
There's been no {a} lately. | a notshown
Ease up on {a} and bring in {b}. | a notallowed; b allowed
Allow top liked and least exposed categories; avoid those with the heaviest exposure. |
High liking alone is not enough; rest matters too. |
A mix of familiar favourites and new discoveries should keep clicks up. |
If {a} is shown again the user may leave. |
To avoid boredom, {a} and {b} take turns. | ?a allowed; ?b allowed
Satisfaction is best served by alternating {a} with {b}. | ?a allowed; ?b allowed
{a} could become tiring soon, so it is limited. | ?a notallowed; ?a nottired
{a} and {b} balance each other: one liked, one fresh. | ?a liked; ?b fresh; ?a fresh; ?b liked
{a} ({n1} of {n2} clicked, exposure {n3}) stays; {b} (exposure {n4}) goes.
    | a clickof n1 n2; a exp n3; b exp n4; a allowed; b notallowed
"""

EXPOSURE, SEEN = frozenset(("exposure", "shown")), frozenset(("exposure", "shown", "tired"))
KINDS = {
    **dict.fromkeys(("liked", "unliked", "good", "pct"), frozenset(("liking",))),
    **dict.fromkeys(("best", "top_liked"), frozenset(("liking", "rank"))),
    **dict.fromkeys(("heavy", "medium", "light", "none", "lowexp", "overshown", "notover", "exp"), EXPOSURE),
    **dict.fromkeys(("notshown", "lately_p", "shown"), EXPOSURE),
    "fresh": SEEN,
    **dict.fromkeys(("tired", "nottired"), frozenset(("tired",))),
    "needrest": frozenset(("tired", "plan")),
    **dict.fromkeys(("allowed", "avoided", "notallowed"), frozenset(("plan",))),
    **dict.fromkeys(("under", "over"), frozenset(("promised", "clicked"))),
    **dict.fromkeys(("noclicks", "clicked", "often", "rarely", "clicks"), frozenset(("clicked",))),
    "clickof": frozenset(("clicked", "shown")),
    "prom": frozenset(("promised",)),
    **dict.fromkeys(("top2", "top3", "low_liked", "second_liked"), frozenset(("rank",))),
    **dict.fromkeys(("top_exp", "low_exp", "top_shown", "top_clicks"), frozenset(("rank",))),
}
"""As which kinds of claim each may be found; comparisons as more."""
NUMBERS = ("pct", "exp", "shown", "clicks", "prom", "clickof")


@dataclass(frozen=True)
class Made:
    """A claim in a made reason: of which category, as which kinds it may be found, and whether it is true."""

    category: int
    kinds: frozenset[str]
    true: bool


def _between(value: float, low: float, high: float) -> bool | None:
    """False up to `low`, true from `high`, and None where people might differ."""
    return True if value >= high else False if value <= low else None


def _not(true: bool | None) -> bool | None:
    return None if true is None else not true


def _liked(of: Session, c: int) -> bool | None:
    if of.coarse:
        return {0: True, 1: True, 3: False}.get(int(of.liking[c]))
    return _between(float((of.liking[list(of.offered)] < of.liking[c]).mean()), 0.3, 0.6)


def _level(of: Session, c: int, word: int) -> bool | None:
    """Whether it has the exposure of a word: none, light, medium or heavy."""
    if of.coarse:
        return bool(of.exposure[c] == word)
    off = abs(float(of.exposure[c]) - float(EXPOSURES[word]))
    true = off <= (0.0, 0.2, 0.3, 0.5)[word] or (word == 3 and of.exposure[c] >= 3)
    return True if true else False if off >= (0.6, 0.9, 0.9, 1.5)[word] else None


def _exposure(of: Session, c: int) -> bool | None:
    """Whether it is high."""
    return _between(of.exposure[c], 1, 3) if of.coarse else _between(of.exposure[c], 0.7, 2.6)


def _tired(of: Session, c: int) -> bool | None:
    if of.coarse:
        return _between(of.exposure[c], 0, 3)
    if of.exposure[c] >= 2.6 and of.promised[c] - of.clicked[c] >= 1.5:
        return True
    return None if of.shown[c] else False


def _place(values: np.ndarray, of: Session, c: int, first: int = 1) -> bool | None:
    """Whether it is among the first of those offered, none of them tied with the next."""
    ordered = np.sort(values[list(of.offered)])[::-1]
    return None if ordered[first - 1] == ordered[first] else bool(values[c] >= ordered[first - 1])


def _counted(of: Session, what: str, c: int) -> bool | None:
    """What is said of clicks; where none are told it is made up, and false."""
    shown, clicked, promised = int(of.shown[c]), int(of.clicked[c]), float(of.promised[c])
    if of.coarse or not shown:
        return False if of.coarse else None
    match what:
        case "under":
            return True if clicked <= promised - 1.2 else False if clicked >= promised else None
        case "over":
            return True if clicked >= promised + 1.2 else False if clicked <= promised - 0.6 else None
        case "noclicks":
            return clicked == 0
        case "clicked":
            return None if clicked == 1 else clicked > 1
    often = None if shown < 3 else _between(clicked / shown, 0.3, 0.65)
    return often if what == "often" else _not(often)


def _more(of: Session, what: str, c: int, other: int) -> bool | None:
    """Whether one category has more of something than another, or less."""
    liking = -of.liking if of.coarse else of.liking
    shown = [of.exposure] if of.coarse else [of.shown, of.exposure]
    if what == "more_clicks" and of.coarse:
        return False
    way = -1 if what in ("less_exp", "less_shown", "more_liked_rev") else 1
    measures = {"liked": [liking], "exp": [of.exposure], "shown": shown, "clicks": [of.clicked]}
    signs = {float(np.sign(way * (by[c] - by[other]))) for by in measures[what.split("_")[1]]}
    return signs == {1.0} if len(signs) == 1 and signs != {0.0} else None


def _first(of: Session, what: str, c: int) -> bool | None:
    """What is said of ranks."""
    liking, shown = (-of.liking, of.exposure) if of.coarse else (of.liking, of.shown)
    match what:
        case "second_liked":
            first, second = _place(liking, of, c), _place(liking, of, c, 2)
            return None if first is None or second is None else second and not first
        case "low_liked":
            return _place(-liking, of, c)
        case "top_exp" | "low_exp":
            return _place(of.exposure if what == "top_exp" else -of.exposure, of, c)
        case "top_shown":
            places = {_place(shown, of, c), _place(of.exposure, of, c)}
            return places.pop() if len(places) == 1 else None
        case "top_clicks":
            return False if of.coarse else _place(of.clicked, of, c)
    return _place(liking, of, c, {"top2": 2, "top3": 3}.get(what, 1))


def holds(of: Session, what: str, c: int, other: int | None = None) -> bool | None:
    """Whether something said of a category is true; None where people might differ."""
    if other is not None:
        return _more(of, what, c, other)
    if what.startswith(("top", "low_", "second")):
        return _first(of, what, c)
    match what:
        case "liked" | "unliked":
            return _liked(of, c) if what == "liked" else _not(_liked(of, c))
        case "best":
            return bool(of.liking[c] == 0) if of.coarse else _place(of.liking, of, c)
        case "good":
            return {1: True, 2: False, 3: False}.get(int(of.liking[c])) if of.coarse else _liked(of, c)
        case "none" if not of.coarse:
            return True if not of.shown[c] else _level(of, c, 0) and None
        case "heavy" | "medium" | "light" | "none":
            return _level(of, c, ("none", "light", "medium", "heavy").index(what))
        case "overshown":
            return _exposure(of, c)
        case "notover" | "lowexp":
            return _not(_exposure(of, c))
        case "notshown" | "lately_p" | "fresh":
            away = of.exposure[c] == 0 if of.coarse else not of.shown[c]
            lately = None if not away and not of.coarse and not of.last[c] else not away
            if what == "fresh" and lately and not (_exposure(of, c) and _tired(of, c)):
                return None
            return lately if what == "lately_p" else _not(lately)
        case "tired" | "nottired":
            return _tired(of, c) if what == "tired" else _not(_tired(of, c))
        case "needrest":
            tired = _tired(of, c)
            return tired if (c in of.avoid and tired) or (c in of.allowed and tired is False) else None
        case "allowed" | "notallowed":
            return (c in of.allowed) == (what == "allowed")
        case "avoided":
            return c in of.avoid if c in (*of.avoid, *of.allowed) else None
    return _counted(of, what, c)


def _numbers(of: Session, what: str, c: int, rng: np.random.Generator, right: bool) -> tuple[str, ...] | None:
    """Numbers that are right, or off by enough for a person to object; where none are told any is wrong."""
    if (of.coarse and right) or (what not in ("pct", "exp") and not of.coarse and not of.shown[c]):
        return None
    off = 0 if right else int(rng.choice([-1, 1])) * int(rng.integers(2, 5))
    liking = int(rng.integers(20, 80)) if of.coarse else int(of.liking[c])
    match what:
        case "pct":
            return (str(liking + 5 * off),) if 0 < liking + 5 * off < 100 else None
        case "exp":  # .05 more than a tenth, for in coarse detail the words stand for tenths
            return (f"{abs(of.exposure[c] + 0.4 * off) + (0.05 if of.coarse else 0):.{2 if of.coarse else 1}f}",)
        case "prom":
            return (f"{abs(of.promised[c] + 0.6 * off):.1f}",)
        case "shown":
            return (str(abs(int(of.shown[c]) + off)),)
        case "clicks":
            return (str(abs(int(of.clicked[c]) + off)),)
    clicked = int(of.clicked[c]) + off
    return (str(clicked), str(of.shown[c])) if 0 <= clicked <= of.shown[c] else None


Claim = tuple[str, str, list[str], bool]


def parsed(lines: str) -> list[tuple[str, list[Claim]]]:
    """The texts of a set, and their claims: category, what, numbers or another category, whether it may be missed."""
    out = []
    for line in filter(None, lines.replace("\n    ", " ").splitlines()):
        text, _, told = line.rpartition("|")
        claims = [claim.split() for claim in told.split(";") if claim.strip()]
        out.append((text.strip(), [(c.lstrip("?"), what, more, c[0] == "?") for c, what, *more in claims]))
    return out


def _filled(
    text: str, claims: list[Claim], of: Session, rng: np.random.Generator, share: float
) -> tuple[str, list[Made], list[Made]] | None:
    """A text filled in such that a share of its claims is false, and its claims; None where that is not to be had."""
    letters = sorted(set(re.findall(r"\{([a-f])\}", text)))
    if len(letters) > len(of.offered):
        return None
    for _ in range(60):
        cats = dict(zip(letters, rng.permutation(of.offered).tolist(), strict=False))
        numbers: dict[str, str] = {}
        made: tuple[list[Made], list[Made]] = [], []
        for letter, what, more, maybe in claims:
            want = maybe or bool(rng.random() >= share)
            if what in NUMBERS:
                given = _numbers(of, what, cats[letter], rng, want)
                if given is None:
                    break
                numbers.update(zip(more, given, strict=True))
            elif holds(of, what, cats[letter], *(cats[other] for other in more)) is not want:
                break
            made[maybe].append(Made(cats[letter], KINDS.get(what, frozenset(("more",))), want))
        else:
            whole = text.format(**{letter: _styled(of.names[c], c, rng) for letter, c in cats.items()}, **numbers)
            return whole[0].upper() + whole[1:], *made
    return None


def _styled(name: str, c: int, rng: np.random.Generator) -> str:
    """A category as models write it."""
    styles = (name, f"{name} ({c})", f"'{name}'", f"**{name}**", f"category {c}", f"{c} ({name})")
    return str(rng.choice(styles, p=(0.7, 0.12, 0.04, 0.05, 0.06, 0.03)))


def blind_reasons(
    count: int, share: float, seed: int, lines: str
) -> Iterator[tuple[Session, str, list[Made], list[Made]]]:
    """Made sessions of both details, each with a reason, its claims, and those that may be found or not.

    Args:
        count: how many. share: of false claims; held to by what is made of the next. lines: a set.
    """
    rng = np.random.default_rng(seed)
    texts = parsed(lines)
    made, said, false = 0, 0, 0
    while made < count:
        text, claims = texts[rng.integers(len(texts))]
        aim = min(max(share + (share * said - false) / 12, 0.0), 0.95)
        for _ in range(12):
            of = session(rng, bool(rng.random() < 0.4))
            filled = _filled(text, claims, of, rng, aim)
            if filled is not None:
                made, said = made + 1, said + len(filled[1])
                false += sum(not claim.true for claim in filled[1])
                yield of, *filled
                break
