"""Reasons written to see how the reader fares with what it has not seen, the terse and the chatty apart.

`TERSE` are such as a template makes of the words of the question. Of each of its four parts, when it was new, .97 to
1.00 of the false claims were found at 10 to 50 % planted, and nothing true was called false. `CHATTY` are such as chat
models write: of its last two parts, when they were new, .41 to .60 of the false claims were found, of those called
false .70 to .97 were, and faithfulness was up to 9 points too low. The form is that of made_blind_reasons.py, which
decides the truth of both as well; three lines were left out and some labelled anew after they were measured.
"""

TERSE = """
{a} is liked. | a liked
{a} is not liked. | a unliked
{a} was not shown lately. | a notshown
Exposure of {a} is heavy. | a heavy
exposure of {a} is light | a light
clicked {n1} of {n2} {a} items | a clickof n1 n2
{a} and {b} are liked but {c} is not | a liked; b liked; c unliked
{a} is the most shown category | a top_shown
allowing {a}, avoiding {b} | a allowed; b avoided
{a} promised {n1} clicks, got {n2} | a prom n1; a clicks n2
{a} liking {n1}% | a pct n1
the liking of {a} is {n1}% | a pct n1
{a} exposure {n1} | a exp n1
{a} has exposure {n1} slates | a exp n1
{a} shown {n1} times | a shown n1
{a} was shown {n1} times and clicked {n2} times | a shown n1; a clicks n2
{a}: {n1} clicks | a clicks n1
{a} is tired | a tired
{a} is not tired | a nottired
{a} is liked and not tired | a liked; a nottired
{a} is the most liked category | a top_liked
{a} is the least liked category | a low_liked
{a} is liked more than {b} | a more_liked b
{a} was shown more than {b} | a more_shown b
{a} has more exposure than {b} | a more_exp b
{a} got more clicks than {b} | a more_clicks b
{a} is the most clicked | a top_clicks
{a} has the highest exposure | a top_exp
{a} has the lowest exposure | a low_exp
{a} was never clicked | a noclicks
{a} was clicked | a clicked
{a} is often clicked | a often
{a} is rarely clicked | a rarely
{a} got fewer clicks than promised | a under
{a} got more clicks than promised | a over
{a} is allowed | a allowed
{a} is avoided | a avoided
{a} allowed, {b} avoided | a allowed; b avoided
allow {a} and {b}, avoid {c} | a allowed; b allowed; c avoided
{a}, {b} liked; {c} disliked | a liked; b liked; c unliked
neither {a} nor {b} is liked | a unliked; b unliked
both {a} and {b} are liked | a liked; b liked
{a} is fresh, {b} is tired | a fresh; b tired
{a} exposure is heavy; {b} exposure is none | a heavy; b none
{a} has low exposure | a lowexp
{a} has high exposure | a overshown
Of {n2} {a} items {n1} were clicked. | a clickof n1 n2
{n1} clicks on {a}, {n2} promised | a clicks n1; a prom n2
{a} was shown lately, {b} was not | a lately_p; b notshown
{a} is liked, {b} is liked less | a liked; b more_liked_rev a
{a} is well liked | a liked
{a} is poorly liked | a unliked
The user likes {a}. | a liked
The user does not like {a}. | a unliked
The user is tired of {a} | a tired
{a} has been shown lately. | a lately_p
{a} has not been shown recently | a notshown
{a} has no exposure | a none
{a} has light exposure and is liked | a light; a liked
{a} has medium exposure | a medium
{a} exposure: heavy, {b} exposure: light | a heavy; b light
exposure to {a} is high | a overshown
exposure to {a} is low | a lowexp
liking for {a} is high | a liked
liking for {a} is low | a unliked
{n1}% liking for {a}, {n2}% for {b} | a pct n1; b pct n2
{a} liking {n1}%, exposure {n2} | a pct n1; a exp n2
{a}: liking {n1}%, exposure {n2}, shown {n3}, clicked {n4} | a pct n1; a exp n2; a shown n3; a clicks n4
{n1} of {n2} {a} items were clicked | a clickof n1 n2
{a} clicked {n1} of {n2} | a clickof n1 n2
{a} clicked {n1} times | a clicks n1
{a} items were shown {n1} times | a shown n1
{a} got {n1} clicks | a clicks n1
{a} got {n1} clicks, {n2} were promised | a clicks n1; a prom n2
promised {n1} clicks on {a} | a prom n1
{n1} clicks were promised for {a} | a prom n1
{a} got no clicks | a noclicks
{a} and {b} got no clicks | a noclicks; b noclicks
{a} was clicked more than {b} | a more_clicks b
{a} was shown less than {b} | a less_shown b
{a} has less exposure than {b} | a less_exp b
{a} is more liked than {b} | a more_liked b
{a} is less liked than {b} | a more_liked_rev b
{a} is liked best | a top_liked
{a} is liked least | a low_liked
{a} and {b} are the two most liked categories | a top2; b top2
{a} is the most exposed category | a top_exp
{a} is shown most | a top_shown
{a} is clicked most | a top_clicks
{a} is second in liking | a second_liked
The plan allows {a} and avoids {b} | a allowed; b avoided
Avoid {a}; allow {b} and {c} | a avoided; b allowed; c allowed
avoiding {a} because it is tired | a avoided; a tired
allowing {a} since it is liked and was not shown lately | a allowed; a liked; a notshown
{a} is not allowed | a notallowed
{a} liked, {b} not liked | a liked; b unliked
{a} is liked but {b} is not | a liked; b unliked
{a} is not liked, nor is {b} | a unliked; b unliked
{a}, {b} and {c} are not tired | a nottired; b nottired; c nottired
{a} is tired and avoided, {b} is fresh and allowed | a tired; a avoided; b fresh; b allowed
{a} is liked, {b} is tired | a liked; b tired
{a} has heavy exposure and is avoided | a heavy; a avoided
{a} is allowed because it has no exposure | a allowed; a none
{a} is avoided because it was shown {n1} times | a avoided; a shown n1
{a} and {b} are allowed | a allowed; b allowed
{a} and {b} are avoided | a avoided; b avoided
neither {a} nor {b} was shown lately | a notshown; b notshown
neither {a} nor {b} is tired | a nottired; b nottired
{a} is both liked and fresh | a liked; a fresh
the most liked category is {a} | a top_liked
the least liked category is {a} | a low_liked
the most shown category is {a} | a top_shown
the most clicked category is {a} | a top_clicks
the category with the highest exposure is {a} | a top_exp
{a} is the favourite | a top_liked
{a} liking: {n1}% | a pct n1
{a} has a liking of {n1}% and an exposure of {n2} | a pct n1; a exp n2
{a} ({n1}%) and {b} ({n2}%) | a pct n1; b pct n2
{a} is at {n1}%, {b} at {n2}% | a pct n1; b pct n2
{a} shown {n1}, clicked {n2}, promised {n3} | a shown n1; a clicks n2; a prom n3
{a} had {n1} clicks of {n2} shown | a clickof n1 n2
the user clicked {n1} of {n2} {a} items | a clickof n1 n2
the user clicked {a} {n1} times | a clicks n1
{a}: {n1} of {n2} clicked | a clickof n1 n2
{a}: promised {n1}, clicked {n2} | a prom n1; a clicks n2
{a} was promised {n1} clicks | a prom n1
{a} got {n1} of {n2} promised clicks | a clicks n1; a prom n2
{a} was clicked less than promised | a under
{a} was clicked more than promised | a over
clicks on {a} were below the promise | a under
clicks on {a} were above the promise | a over
nobody clicked {a} | a noclicks
no {a} item was clicked | a noclicks
the user never clicked {a} | a noclicks
the user often clicks {a} | a often
the user rarely clicks {a} | a rarely
{a} has more clicks than {b} | a more_clicks b
{a} has higher liking than {b} | a more_liked b
{a} has lower liking than {b} | a more_liked_rev b
{a} has higher exposure than {b} | a more_exp b
{a} was shown more often than {b} | a more_shown b
exposure of {a} is higher than that of {b} | a more_exp b
liking of {a} is higher than that of {b} | a more_liked b
the user prefers {a} to {b} | a more_liked b
{a} is preferred to {b} | a more_liked b
{a}: best liking, none exposure | a best; a none
{a} liking best, exposure heavy; {b} liking good, exposure light | a best; a heavy; b good; b light
{a} is not over-exposed | a notover
{a} has not been overexposed, {b} has | a notover; b overshown
I avoid {a} and allow {b} | a avoided; b allowed
{a}: liked | a liked
{a}: not liked, {b}: liked | a unliked; b liked
{a} and {b} are tired, {c} is not tired | a tired; b tired; c nottired
{a} is fresh and allowed | a fresh; a allowed
{a} is tired, therefore avoided | a tired; a avoided
{a} is avoided since exposure is heavy | a avoided; a heavy
{a} is allowed since liking is {n1}% | a allowed; a pct n1
{a} was not clicked | a noclicks
{a} and {b} were not shown lately | a notshown; b notshown
{a} was shown recently and {b} was not | a lately_p; b notshown
{a} exposure is {n1} slates | a exp n1
{a} has {n1} slates of exposure | a exp n1
exposure to {a} is {n1} | a exp n1
exposure of {a} is none | a none
exposure of {a} is medium and exposure of {b} is heavy | a medium; b heavy
{a} has the most exposure | a top_exp
{a} has the least exposure | a low_exp
{a} has the most clicks | a top_clicks
{a} has the lowest liking | a low_liked
{a} has the highest liking and {b} the lowest | a top_liked; b low_liked
{a} is among the three most liked | a top3
{a} is among the two most liked categories | a top2
{a} has {n1} clicks | a clicks n1
{a} has {n1} clicks from {n2} items | a clickof n1 n2
{n1} clicks in {n2} {a} items | a clickof n1 n2
{a} items: {n1} of {n2} clicked | a clickof n1 n2
the user clicked {n1} {a} items | a clicks n1
{n1} {a} items were shown | a shown n1
{a} was shown {n1} times, clicked {n2} times and promised {n3} clicks | a shown n1; a clicks n2; a prom n3
{a} fell short of its promised clicks | a under
{a} exceeded its promised clicks | a over
{a} got less than promised, {b} got more than promised | a under; b over
{a} got {n1} clicks, less than the promised {n2} | a clicks n1; a prom n2; ?a under
{a} is liked more than {b} and shown less than {b} | a more_liked b; a less_shown b
{a} is liked less than {b} | a more_liked_rev b
{a} is clicked more often than {b} | a more_clicks b
the user likes {a} more than {b} | a more_liked b
the user likes {a} and {b} | a liked; b liked
the user does not like {a} or {b} | a unliked; b unliked
the user is tired of {a}, not of {b} | a tired; b nottired
{a} is overexposed | a overshown
{a} is underexposed | a lowexp
{a} is not underexposed, {b} is | a overshown; b lowexp
allowed: {a}, {b}; avoided: {c} | a allowed; b allowed; c avoided
allow {a} because it is the most liked | a allowed; a top_liked
avoid {a} because it is the most shown | a avoided; a top_shown
I allow {a} as it is liked and avoid {b} as it is tired | a allowed; a liked; b avoided; b tired
this plan avoids {a} and {b} | a avoided; b avoided
{a} is low in liking and heavy in exposure | a unliked; a heavy
liking for {a} is {n1}%, for {b} it is {n2}% | a pct n1; b pct n2
"""

CHATTY = """
Going with {a} here since they clearly enjoy it, and giving {b} a breather after a heavy run.
    | a allowed; a liked; b notallowed; b heavy
{a} has been doing the heavy lifting with {n1} of {n2} clicks, so it keeps its seat. | a clickof n1 n2; a allowed
I'd love to bring back {a}: it hasn't been on screen in ages. | a notshown; ?a allowed
There's real appetite for {a} at {n1}%, though {b} may get stale soon. | a pct n1
{a} looks promising and could work well; {b} is benched for now. | b notallowed
To avoid fatigue with {a}, I mix in {b}. | b allowed
If {a} keeps underdelivering it might be dropped later; today it stays. | a allowed
Hard to argue with {n1} clicks out of {n2} for {a}. | a clickof n1 n2
{a} was supposed to bring {n1} clicks but brought only {n2}. | a prom n1; a clicks n2
My gut says {a} is where the fun is; nobody in this list scores higher. | a top_liked
We've hammered {a} lately, so time for {b}. | a lately_p; b allowed
Not a single click on {a} despite repeated showings; cutting it. | a noclicks; a notallowed
{a} probably has room to grow. |
This user seems to be warming up to {a}, so let's offer it. | a allowed
{a} is their comfort food, {b} decidedly isn't. | a liked; b unliked
Keep the momentum on {a} while {b} recovers from overexposure. | a allowed; b overshown
I'm resting {a} because its exposure of {n1} is steep. | a avoided; a exp n1
{a} stays in as the crowd pleaser ({n1}% liking), {b} steps out. | a allowed; a pct n1; b notallowed
{a} has barely been seen, so the audience won't be bored of it. | a lowexp
Both {a} and {b} score well, and rotating between them should keep things lively. | a liked; b liked
Given the low click count of {n1} for {a}, it makes sense to pause it. | a clicks n1; a notallowed
{a} underperformed its forecast, whereas {b} exceeded it. | a under; b over
Fresh pick: {a}. Tired pick to drop: {b}. | a allowed; ?a fresh; b tired; b notallowed
The next slates lean on {a} and {b} for variety. | a allowed; b allowed
Variety matters, so {a} joins {b} this round. | a allowed; b allowed
{a} at {n1} exposure can wait; {b} at {n2} is ready. | a exp n1; b exp n2; ?a notallowed; ?b allowed
Sure, {a} is popular with this user, but a break will do it good. | a liked; a notallowed
They skip {a} almost every time it turns up. | a rarely
They almost always click {a} when it appears. | a often
I want to see whether {a} still clicks after the pause. |
{a} leads the pack on liking and {b} trails at the bottom. | a top_liked; b low_liked
Out of everything offered, {a} has soaked up the most screen time. | a top_exp
{a} beats {b} on appeal, hands down. | a more_liked b
{b} has had far more airtime than {a}, so I flip the balance. | b more_shown a
{a} only if the mood changes. |
With {n1} showings behind it, {a} deserves a rest. | a shown n1; ?a needrest
No reason to push {a} at {n1}% when {b} sits at {n2}%. | a pct n1; b pct n2
Saving {a} for later; it would be worn out otherwise. | a notallowed
{a} feels overdone at this point. | a tired
The viewer is getting weary of {a}. | a tired
Picked {a} over {b} because it's better liked. | a allowed; b notallowed; a more_liked b
{a} earned its place: {n1} clicks versus the {n2} we expected. | a clicks n1; a prom n2; ?a allowed
{a} remains untouched so far, let's test the waters. | a notshown; ?a allowed
I think {a} and {b} strike a good balance between favourites and discovery. | a allowed; b allowed
Their taste for {a} is lukewarm at best. | a unliked
{a} is a safe bet, having landed {n1} clicks. | a clicks n1
Leaving {a} out; {b} and {c} carry the plan. | a notallowed; b allowed; c allowed
{a} is the runner-up in liking, right behind {b}. | a second_liked; b top_liked
Exposure to {a} is light so there's headroom. | a light
A dash of {a} could spark interest, as it is neither worn nor disliked. | a nottired; a liked
{a} is a winner for this viewer: {n1} of {n2} clicked. | a clickof n1 n2
I kept {a} and {b} because both have been reliable, and left {c} on the bench. | a allowed; b allowed; c notallowed
This person can't get enough of {a}. | a liked
{a} has lost its shine after {n1} showings. | a shown n1
Clicks on {a} are drying up ({n1} against a promise of {n2}). | a clicks n1; a prom n2
Let's not overdo {a}; it already has {n1} slates of exposure. | a exp n1
A little {a} goes a long way, and {b} fills the gap. |
Feels right to open with {a}, their strongest preference at {n1}%. | a allowed; a top_liked; a pct n1
{a} would be overkill at this stage. |
Hoping {a} sparks some curiosity. |
{a} and {b} have plenty of gas left in the tank. | ?a nottired; ?b nottired
Since {a} is their favourite and hasn't been overused, it goes first. | a top_liked; a notover; a allowed
While I like {a}, the user doesn't seem to. | ?a unliked
{a} should be shown less, say once per slate. |
A solid {n1}% for {a} makes it a no-brainer. | a pct n1; ?a allowed
{a} hasn't clicked with the user, so out it goes. | a notallowed
We could revisit {a} in a few slates. |
{b} gets a rest; I'd rather try {a}, which they haven't seen recently. | b avoided; a notshown; a allowed
Repetition of {a} risks boredom, hence the switch to {b}. | b allowed
{a} got love early on but clicks have cooled. |
Of the {n2} {a} items served, the user engaged with {n1}. | a clickof n1 n2
{a} is a hit, {b} is a miss. | a liked; b unliked
They've been fed {a} non-stop. | a overshown
Nothing beats {a} for this user. | a top_liked
{a} sits in the sweet spot: high liking, low exposure. | a liked; a lowexp
The data favour {a} ({n1}%) and {b} ({n2}%), with {c} as a wildcard.
    | a pct n1; b pct n2; ?c allowed; ?a allowed; ?b allowed
Rather than lean on {a} again, I bring in {b}. | a notallowed; b allowed
{a} is showing its age with heavy exposure. | a heavy
I avoid {a} out of caution, as the last clicks were thin. | a avoided
Expect {a} to do well. |
There's still untapped potential in {a}: exposure is only {n1}. | a exp n1
{a} may be tiring the user, so I hold it back. | a notallowed
With {a} out of the picture, {b} and {c} get more space. | a notallowed; b allowed; c allowed
Users who enjoy {a} often enjoy {b}. |
Not the time for {a}. | a notallowed
{a} is liked about as much as {b}. |
{a} has had its share of attention, {n1} items so far. | a shown n1
If the user were tired of {a} we'd see fewer clicks; instead they clicked {n1} of {n2}. | a clickof n1 n2
Despite a strong liking, {a} is rested this time to let it recover. | a liked; a avoided
To reintroduce {a} gently, I pair it with {b}. | a allowed; b allowed
{a} keeps disappointing: fewer clicks than promised. | a under; ?a under
{a} has surpassed its promised clicks, a sign of genuine interest. | a over; ?a liked
It's been a while since {a} was on, and they like it. | a notshown; a liked
I want the user to discover {a} before it's too late. | ?a allowed
{a} is the workhorse of the session, shown {n1} times already. | a shown n1
No exposure for {a} so far, which makes it a fresh option. | a none; ?a fresh; ?a allowed
The user ignores {a}. | a noclicks
{a} for engagement, {b} for novelty, {c} for balance. | a allowed; b allowed; c allowed
I'd drop {a} before {b}. |
{a} remains on the menu; {b} is off it. | a allowed; b notallowed
Prioritizing {a} and {b} due to strong engagement while giving {c} a break. | a allowed; b allowed; c avoided
Leaning into {a}, which the user clearly loves ({n1}% liking), and weaving in {b} for freshness.
    | a allowed; a liked; a pct n1; b allowed
{a} has seen {n1} clicks from {n2} impressions, suggesting real enthusiasm. | a clickof n1 n2
Because {a} was all over the last few slates, it sits this one out. | a lately_p; a notallowed
Balance is key: {a} anchors the slate, {b} adds a twist. | a allowed; b allowed
{a} is approaching saturation, so I scale it back. | a notallowed
The user's sweet tooth is for {a}; {b} leaves them cold. | a liked; b unliked
With exposure at {n1}, {a} is on the verge of wearing out its welcome. | a exp n1
{a} converts poorly ({n1}/{n2}), so it's off the table. | a clickof n1 n2; a notallowed
I'm betting on {a} today. | a allowed
{a} isn't a priority right now. | ?a notallowed
Going all in on {a} would be risky. |
{a} and {b} are dependable, having earned the highest liking scores. | a top2; b top2
Overuse of {a} has dulled the response, so we cool it off. | a overshown; a avoided
Too much {a} lately; the user deserves something different like {b}. | a lately_p; b allowed
{a} is a long shot with {n1}% but it has zero exposure. | a pct n1; a none
Cutting {a} since its {n1} clicks fall short of the {n2} promised. | a notallowed; a clicks n1; a prom n2; ?a under
Engagement with {a} is above expectations. | a over
Engagement with {a} is below expectations. | a under
Selecting {a} as a crowd favourite and {b} as an under-the-radar pick. | a allowed; b allowed
{a} hits the mark more than {b} does. | a more_liked b
Their affinity for {a} outstrips {b} by far. | a more_liked b
Exposure is climbing for {a} and falling for {b}. |
I'd keep {a} in rotation, but {b} and {c} deserve the spotlight. | a allowed; b allowed; c allowed
{a} hasn't worn thin yet. | a nottired
Fatigue is setting in for {a}. | a tired
There's no fatigue on {a}, so it can continue. | a nottired; a allowed
To maximise satisfaction, serve {a} and {b}; {c} can rest. | a allowed; b allowed; c avoided
{a} is not the user's cup of tea. | a unliked
{a} was last clicked ages ago. |
A quick reset from {a} by showing {b}. | b allowed; ?a notallowed
{a} has the strongest pull of all ({n1}%). | a top_liked; a pct n1
At only {n1}% {a} can't compete. | a pct n1
{a} is popular and barely touched recently, an ideal choice. | a liked; a lowexp
They've seen {a} {n1} times and clicked on {n2}. | a shown n1; a clicks n2
Nothing wrong with {a}, but its exposure of {n1} calls for moderation. | a exp n1
I trust {a} to carry the slate, given {n1} clicks so far. | a clicks n1; ?a allowed
The mix of {a}, {b} and {c} covers taste and novelty. | a allowed; b allowed; c allowed
Swapping out {a} in favour of {b}. | a notallowed; b allowed
{a} fatigue is likely. | ?a tired
Avoiding {a} for a bit since the user has had a heavy dose of it. | a avoided; a overshown
Clicks prove the user likes {a}; {b} has none. | a liked; b noclicks
{a} is slightly less liked than {b}, yet far less exposed. | a more_liked_rev b; a less_exp b
Held {a} for the next plan. | a notallowed
Even though {a} tops the list for liking, it's avoided because of heavy exposure. | a top_liked; a avoided; a heavy
Fresh off a break, {a} is back. | ?a allowed
{a} is unlikely to tire soon with {n1} exposure. | a exp n1
{a} or {b}? I went with {a} for its liking. | a allowed
Going for a blend: {a} as the reliable hit and {b} to keep things fresh. | a allowed; b allowed
The user's love of {a} is evident from {n1} clicks in {n2} views. | a clickof n1 n2; ?a liked
Let's dial down {a} since we've shown it {n1} times already. | ?a notallowed; a shown n1
{a} has momentum right now, so I keep riding it. | a allowed
{a} looks like a dead end with {n1} clicks so far. | a clicks n1
I see that {a} is their top genre and hasn't been shown recently, making it an easy call.
    | a top_liked; a notshown; ?a allowed
{a} gets the nod because of its high liking, {b} because of its low exposure.
    | a liked; b lowexp; a allowed; b allowed
Without {a} the slate would feel flat. |
{a} could use some time away after {n1} slates' worth of exposure. | a exp n1; ?a needrest
Interest in {a} appears to be fading: promised {n1}, delivered {n2}. | a prom n1; a clicks n2
Both {a} and {b} are well-liked but {a} has been shown too much lately. | a liked; b liked; a overshown
The user keeps coming back to {a}. | ?a often
Less {a}, more {b}. | ?a notallowed; ?b allowed
The user might be open to {a}, which hasn't been tried. | a notshown
I'd like to sprinkle in {a} to offset the weight of {b}. | ?a allowed
{a} pulled in {n1} clicks, double what I'd hope for. | a clicks n1
{a} isn't overexposed and it's among the top two in liking. | a notover; a top2
Given the session so far, {a} and {b} look strongest; {c} looks weakest. | ?a liked; ?b liked; ?c unliked
We have leaned on {a} heavily, so {b} takes over. | a overshown; b allowed
{a} is in, {b} is out. | a allowed; b notallowed
To sustain interest, alternate {a} and {b}, and leave {c} for another day. | a allowed; b allowed; c notallowed
{a} won't be shown this time because the user is bored with it. | a notallowed; a tired
{a} and {b} complement each other nicely. |
If we rest {a} now it should bounce back. | ?a notallowed
{a} is polarising but worth it at {n1}%. | a pct n1; ?a allowed
{a} still has the edge over {b} in likes. | a more_liked b
There is little appetite for {a}. | a unliked
The appetite for {a} is huge. | a liked
Low-risk choice: {a}. High-risk choice: {b}, with just {n1}% liking. | b pct n1; a allowed; b allowed
{a} is shelved after an underwhelming {n1} of {n2}. | a notallowed; a clickof n1 n2
{a} continues to exceed its promise. | a over
Their favourite, {a}, is saved for a later slate as it's tired. | a top_liked; a tired; a notallowed
{a}, {b}: in. {c}: out (overplayed). | a allowed; b allowed; c notallowed; c overshown
{a} has gone stale, {b} has not. | a tired; b nottired
{a} was a flop the last time we showed it. |
Keep calm and play {a}. | a allowed
{a} is second only to {b} in the user's heart. | ?a second_liked; ?b top_liked
{a} at {n1}% edges out {b} at {n2}%. | a pct n1; b pct n2; ?a more_liked b
My pick is {a}, given its strong history of {n1} clicks. | a allowed; a clicks n1
{a} doesn't need a rest yet. | ?a nottired
People rarely get tired of {a}. |
{a} was avoided last time. |
{a} should regain its appeal once rested. |
{a} is a filler at best, with a liking of {n1}%. | a pct n1
{a} had too many showings ({n1}). | a overshown; a shown n1
Only {n1}% like {a}. | a pct n1
{a} is the one category with no exposure at all. | a none
Next up are {a} and {b}; {c} can come back when interest recovers. | a allowed; b allowed; ?c notallowed
A change of pace from {a} to {b} makes sense here. | b allowed; ?a notallowed
The user responds well to {a} (clicked {n1} of {n2}), so it stays in the mix alongside {b}.
    | a clickof n1 n2; a allowed; b allowed
I'm steering away from {a}; the exposure of {n1} says it has had enough. | a notallowed; a exp n1
{a} and {b} look like the natural choices given their liking of {n1}% and {n2}%.
    | a pct n1; b pct n2; ?a allowed; ?b allowed
Surprisingly, {a} got {n1} clicks, beating the promised {n2}. | a clicks n1; a prom n2; ?a over
Because the user seems fatigued with {a}, I pivoted to {b} and {c}. | a tired; b allowed; c allowed
{a} deserves another chance since it hasn't been displayed of late. | a notshown; ?a allowed
I'm wary of {a}: {n1} displays and just {n2} clicks. | a shown n1; a clicks n2
The clear leader is {a} at {n1}%. | a pct n1; ?a top_liked
{a} makes the cut because people love it. | a allowed; a liked
{a} is starting to drag, with clicks below what was promised. | a under
Nothing new here: {a} stays, {b} rests. | a allowed; b avoided
{a} offers the highest liking and {b} the lowest exposure. | a top_liked; b low_exp
We should probably ease off {a}. | ?a notallowed
{a} has been left alone for a while, which keeps it fresh. | a notshown; ?a fresh
{a} could pick up steam if shown more. |
The session needs contrast, so {a} follows {b}. | a allowed; b allowed
{a} is strong on liking but weak on exposure, so it's a good bet. | a liked; a lowexp; ?a allowed
Their interest in {a} is strong; interest in {b} is weak. | a liked; b unliked
{a} draws the most clicks, so it's a must. | a top_clicks; a allowed
Too early to give up on {a}. |
{a} is already at heavy exposure and {b} at medium. | a heavy; b medium
After {n1} showings and {n2} clicks, {a} goes on hold. | a shown n1; a clicks n2; a notallowed
Avoid overloading on {a}. |
{a} feels safe: liked by the user and seldom shown. | a liked; a lowexp
The gap between {a} ({n1}%) and {b} ({n2}%) is telling. | a pct n1; b pct n2
I dropped {a}, the least liked of the bunch. | a notallowed; a low_liked
{a} resonates; {b} falls flat. | a liked; b unliked
A quick win would be {a}. | ?a allowed
Let the user breathe from {a} and enjoy {b}. | a notallowed; b allowed
{a} may have peaked, with {n1} clicks out of {n2} shown. | a clickof n1 n2
Ideally {a} returns once it is rested. |
{a} has the clicks to prove it: {n1}. | a clicks n1
{a} isn't exciting at {n1}%, yet its exposure is light. | a pct n1; a light
Even at {n1}%, {a} is avoided this round as it's overexposed. | a pct n1; a avoided; a overshown
The user rarely bites on {a}. | a rarely
This slate is about {a} and {b}. | a allowed; b allowed
{a} is liked, just not as much as {b}. | a liked; b more_liked a
Compared with {a}, {b} has been shown more. | b more_shown a
{a} has the highest exposure, so a pause is due. | a top_exp; ?a notallowed
I'd avoid {a} unless clicks pick up. | ?a avoided
"""
