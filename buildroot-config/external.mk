# What this tree builds. `cairn_*_defconfig` in configs/ says for which board.
include $(sort $(wildcard $(BR2_EXTERNAL_CAIRN_PATH)/package/*/*.mk))
