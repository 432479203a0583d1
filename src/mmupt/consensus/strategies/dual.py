"""A label only where teacher and student agree (after DCRL, arXiv 2603.16223)."""

from __future__ import annotations

from mmupt.consensus.ballot import Ballot, Election, tally
from mmupt.types import Vote


def dual(ballot: Ballot) -> Vote:
    """The student's majority, where it is the teacher's majority too; else no label.

        y* = y_student if y_student = y_teacher,   r_i = [y_i = y*]

    Own rule after the two consenting votes of DCRL (arXiv 2603.16223; the paper takes the harmonic
    mean of both, which is strategy "harmony" with the voter as the view). Option `teacher_answers`:
    answers of a frozen or slow copy to the same prompt; they are partitioned together with the
    student's. `share` and `tied` speak of the student's answers; a tie of the teacher's is no
    agreement under either tie policy.
    """
    election = ballot.elect(ballot.counts())
    teacher = tally(ballot.options.teacher_classes)
    top = max(teacher, default=0)
    agreed = (
        election.winner is not None
        and top > 0
        and teacher.count(top) == 1
        and teacher.index(top) == election.winner
    )
    if not agreed:
        election = Election(None, election.share, election.tied)
    return ballot.close(election)
