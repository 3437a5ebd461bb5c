# SPDX-License-Identifier: GPL-2.0-only
# The programs beside spillway: the traffic generator, the laboratory's client, and an example of an application that names
# its users.
TRAFFIC := $O/spillway-traffic
CLIENT := $O/spillway-client

TRAFFIC_SOURCES := $(sort $(filter-out %.bpf.c,$(wildcard tools/traffic/*.c)))
TRAFFIC_OBJECTS := $(TRAFFIC_SOURCES:%.c=$O/%.o)
TRAFFIC_SKELETON := $O/tools/traffic/traffic.skel.h
TRAFFIC_BASE := $(addprefix $O/user/base/,error.o prefix.o units.o utf8.o)

$O/tools/traffic/traffic.bpf.o: tools/traffic/traffic.bpf.c | $O/tools/traffic/
	$(call say,BPF,$@)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(TRAFFIC_SKELETON): $O/tools/traffic/traffic.bpf.o
	$(call say,SKEL,$@)$(BPFTOOL) gen skeleton $< name traffic_bpf >$@ || { rm -f $@; exit 1; }

$O/tools/%.o: tools/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -Itools -c $< -o $@

$O/tools/traffic/live.o: $(TRAFFIC_SKELETON)

$(TRAFFIC): $(TRAFFIC_OBJECTS) $(TRAFFIC_BASE)
	$(call say,LD,$@)$(CC) $(SANITIZE) $(LDFLAGS) $^ $(shell pkg-config --libs libbpf libpcap jansson) -lm -o $@

$(CLIENT): $O/tools/lab/client.o
	$(call say,LD,$@)$(CC) $(SANITIZE) $(LDFLAGS) $^ $(shell pkg-config --libs libevent) -lm -o $@

EXAMPLE := $O/spillway-example

$(EXAMPLE): $O/tools/example/server.o
	$(call say,LD,$@)$(CC) $(SANITIZE) $(LDFLAGS) $^ -lpthread -o $@

RECEIVER := $O/spillway-receiver
RECEIVERS_SKELETON := $O/tools/bench/receivers.skel.h

$O/tools/bench/receivers.bpf.o: tools/bench/receivers.bpf.c | $O/tools/bench/
	$(call say,BPF,$@)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(RECEIVERS_SKELETON): $O/tools/bench/receivers.bpf.o
	$(call say,SKEL,$@)$(BPFTOOL) gen skeleton $< name receivers_bpf >$@ || { rm -f $@; exit 1; }

$O/tools/bench/receiver.o: $(RECEIVERS_SKELETON)

$(RECEIVER): $O/tools/bench/receiver.o $(filter-out $O/user/main.o,$(USER_OBJECTS))
	$(call say,LD,$@)$(CC) $(SANITIZE) $(LDFLAGS) $^ $(PKG_LIBS) -o $@

# These run packets as the packet tests do.
SCALING := $O/spillway-scaling
OBSERVING := $O/spillway-observing
KERNEL_LOOPS := $(SCALING) $(OBSERVING)

$(KERNEL_LOOPS:$O/spillway-%=$O/tools/bench/%.o): $O/tools/bench/%.o: tools/bench/%.c $(SKELETONS)
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -Itests -c $< -o $@

$(KERNEL_LOOPS): $O/spillway-%: $O/tools/bench/%.o $(addprefix $O/tests/packet/,frame.o world.o) $(filter-out $O/user/main.o,$(USER_OBJECTS))
	$(call say,LD,$@)$(CC) $(SANITIZE) $(LDFLAGS) $^ $(PKG_LIBS) -o $@

# The control core against simulated services and users.
SIMULATOR := $O/spillway-simulator
SIMULATOR_OBJECTS := $(patsubst %.c,$O/%.o,$(sort $(wildcard tools/simulator/*.c)))
SIMULATOR_PARTS := $(addprefix $O/user/,control/level.o control/capacity.o control/knee.o control/still.o control/controller.o base/error.o base/units.o base/utf8.o)

$(SIMULATOR_OBJECTS): CPPFLAGS += -Itools

$(SIMULATOR): $(SIMULATOR_OBJECTS) $(SIMULATOR_PARTS)
	$(call say,LD,$@)$(CC) $(SANITIZE) $(LDFLAGS) $^ $(shell pkg-config --libs yaml-0.1 jansson) -lm -o $@

.PHONY: bench-tools
bench-tools: $(TRAFFIC) $(RECEIVER) $(KERNEL_LOOPS)

# Users of `make bench-overload`, and the work behind its web server.
LOAD := $O/spillway-load
BACKEND := $O/spillway-backend

$(LOAD): $(addprefix $O/tools/overload/,load.o arrivals.o)
	$(call say,LD,$@)$(CC) $(SANITIZE) $(LDFLAGS) $^ -lm -o $@

$(BACKEND): $O/tools/lab/backend.o
	$(call say,LD,$@)$(CC) $(SANITIZE) $(LDFLAGS) $^ -o $@

.PHONY: overload-tools
overload-tools: $(TRAFFIC) $(LOAD) $(BACKEND)

-include $(wildcard $O/tools/*/*.d)
