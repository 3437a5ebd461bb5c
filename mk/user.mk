# SPDX-License-Identifier: GPL-2.0-only
# The user half: every C file below user/ is part of the one program.
SPILLWAY := $O/spillway
USER_SOURCES := $(sort $(wildcard user/*.c user/*/*.c))
USER_OBJECTS := $(USER_SOURCES:%.c=$O/%.o)
VERSION := 0.1.0

PKG_CFLAGS = $(shell pkg-config --cflags $(LIBRARIES))
PKG_LIBS = $(shell pkg-config --libs $(LIBRARIES)) -lpthread -lm

$O/user/%.o: user/%.c $(SKELETONS)
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -DSPILLWAY_VERSION='"$(VERSION)"' $(PKG_CFLAGS) -c $< -o $@

$(SPILLWAY): $(USER_OBJECTS)
	$(call say,LD,$@)$(CC) $(SANITIZE) $(LDFLAGS) $^ $(PKG_LIBS) -o $@

-include $(wildcard $(USER_OBJECTS:.o=.d))
