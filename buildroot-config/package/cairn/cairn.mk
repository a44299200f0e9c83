################################################################################
#
# cairn
#
################################################################################

# The checkout that this tree is part of; the version of its workspace.
CAIRN_VERSION = 0.1.0
CAIRN_SITE = $(realpath $(BR2_EXTERNAL_CAIRN_PATH)/..)
CAIRN_SITE_METHOD = local
CAIRN_LICENSE = MIT or Apache-2.0
CAIRN_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE
CAIRN_DEPENDENCIES = host-pkgconf

# What is built, measured or fetched in a checkout is no source. The vendored
# crates are: `cargo xtask buildroot --vendor` puts them there.
CAIRN_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--exclude /target \
	--exclude /build \
	--exclude /artifacts \
	--exclude node_modules

# Nothing is downloaded while it is built.
CAIRN_CARGO_BUILD_OPTS = \
	--package cairn \
	--config 'source.crates-io.replace-with="vendored"' \
	--config 'source.vendored.directory="buildroot-config/vendor"'

# The same core as cross.toml: faster instructions are chosen when the hub
# starts, never by the compiler. Cargo's infrastructure knows the profile
# "release" only; this makes it the workspace's profile "card".
CAIRN_CARGO_ENV = \
	CARGO_TARGET_$(call UPPERCASE,$(RUSTC_TARGET_NAME))_RUSTFLAGS="-C target-cpu=cortex-a53" \
	CARGO_PROFILE_RELEASE_LTO=thin \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS=4

# `cargo install` would build it a second time with other features.
define CAIRN_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 \
		$(@D)/target/$(RUSTC_TARGET_NAME)/$(if $(BR2_ENABLE_DEBUG),debug,release)/cairn \
		$(TARGET_DIR)/usr/bin/cairn
endef

define CAIRN_USERS
	cairn 500 cairn 500 * /data/hub - - the hub
	cairn-infer 501 cairn-infer 501 * - - - models
	cairn-names 502 cairn-names 502 * - - - names on the access point
endef

define CAIRN_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_DM_VERITY)
	$(call KCONFIG_ENABLE_OPT,CONFIG_EROFS_FS)
endef

$(eval $(cargo-package))
