# SPDX-License-Identifier: GPL-2.0-only
# Installing, and Debian packages. Directories are those of the GNU coding standards; PREFIX is their prefix.
PREFIX ?= /usr/local
prefix ?= $(PREFIX)
exec_prefix ?= $(prefix)
sbindir ?= $(exec_prefix)/sbin
includedir ?= $(prefix)/include
datarootdir ?= $(prefix)/share
datadir ?= $(datarootdir)
docdir ?= $(datarootdir)/doc/spillway
mandir ?= $(datarootdir)/man
# Below /usr, as in packages, the host's own configuration is in /etc.
sysconfdir ?= $(if $(filter /usr,$(prefix)),/etc,$(prefix)/etc)
systemdsystemunitdir ?= $(prefix)/lib/systemd/system
sysusersdir ?= $(prefix)/lib/sysusers.d
tmpfilesdir ?= $(prefix)/lib/tmpfiles.d
bashcompletiondir ?= $(datadir)/bash-completion/completions
zshcompletiondir ?= $(datadir)/zsh/site-functions
fishcompletiondir ?= $(datadir)/fish/vendor_completions.d
INSTALL ?= install

PACKAGE := tools/package
UNIT := $O/spillway.service

# under DIRECTORY,FILES: each file in that directory by its own name.
under = $(foreach file,$2,644:$(file):$1/$(notdir $(file)))
# What is installed: MODE:FILE:PLACE.
INSTALLED = \
	755:$(SPILLWAY):$(sbindir)/spillway \
	644:include/spillway.h:$(includedir)/spillway.h \
	644:$(UNIT):$(systemdsystemunitdir)/spillway.service \
	644:$(PACKAGE)/spillway.sysusers:$(sysusersdir)/spillway.conf \
	644:$(PACKAGE)/spillway.tmpfiles:$(tmpfilesdir)/spillway.conf \
	644:$(PACKAGE)/completions/spillway.bash:$(bashcompletiondir)/spillway \
	644:$(PACKAGE)/completions/_spillway:$(zshcompletiondir)/_spillway \
	644:$(PACKAGE)/completions/spillway.fish:$(fishcompletiondir)/spillway.fish \
	$(call under,$(mandir)/man8,$(wildcard $(PACKAGE)/man/*.8)) \
	$(call under,$(mandir)/man5,$(wildcard $(PACKAGE)/man/*.5)) \
	$(call under,$(docdir)/examples,$(wildcard $(PACKAGE)/examples/*) tools/example/server.c) \
	$(call under,$(docdir)/examples/prometheus,$(addprefix tools/monitoring/prometheus/,prometheus.yml spillway.rules.yml)) \
	$(call under,$(docdir)/examples/grafana,tools/monitoring/grafana/spillway.json) \
	$(call under,$(docdir),$(wildcard docs/*.md))
PLACES = $(foreach entry,$(INSTALLED),$(DESTDIR)$(word 3,$(subst :, ,$(entry))))
CONFIGURATION = $(DESTDIR)$(sysconfdir)/spillway/spillway.yaml

define install_one
$(Q)$(INSTALL) -D -m $(word 1,$1) $(word 2,$1) $(DESTDIR)$(word 3,$1)

endef

.PHONY: install uninstall deb check-package FORCE
install: $(SPILLWAY) $(UNIT) ## install to $(DESTDIR)$(PREFIX); a configuration that is there already stays
	$(foreach entry,$(INSTALLED),$(call install_one,$(subst :, ,$(entry))))
	$(Q)[ -e $(CONFIGURATION) ] || $(INSTALL) -D -m 644 $(PACKAGE)/spillway.yaml $(CONFIGURATION)

uninstall: ## remove what install has put there, and the configuration where nobody has changed it
	$(Q)! cmp -s $(PACKAGE)/spillway.yaml $(CONFIGURATION) || rm $(CONFIGURATION)
	$(Q)rm -f $(PLACES)
	$(Q)for directory in $(addprefix $(DESTDIR)$(docdir)/,examples/prometheus examples/grafana examples .) $(dir $(CONFIGURATION)); do \
		[ ! -d $$directory ] || rmdir --ignore-fail-on-non-empty $$directory; \
	done

# Its paths are those of this installation, which may not be those of the last.
$(UNIT): $(PACKAGE)/spillway.service.in FORCE | $O/
	@sed 's|@sbindir@|$(sbindir)|; s|@sysconfdir@|$(sysconfdir)|' $< >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

deb: ensure-deps ## build Debian packages in $O/package
	$(Q)$(PACKAGE)/deb.sh $(abspath $O)/package $(VERSION)

check-package: deb ## install, upgrade, remove and purge the package in a clean root
	$(Q)O=$(abspath $O) bats tests/package/package.bats
