"""Label-free GRPO by TRL's GRPOTrainer (extra `trl`): our votes, labels, guard and records.

`MajorityVoteReward` is for anyone's trainer; `mmupt train --engine trl` is the whole round.
"""
