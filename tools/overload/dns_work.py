# SPDX-License-Identifier: GPL-2.0-only
"""The work behind the laboratory's DNS server: Unbound's Python module runs this for every query. Like the web server's
(tools/lab/backend.c) it is counted in processor time, so that a machine that others slow down answers as many."""
import time

import unboundmodule as unbound

WORK_S = 1.3e-3


def work():
    until = time.process_time() + WORK_S
    while time.process_time() < until:
        pass


def init(_module, _environment):
    return True


def deinit(_module):
    return True


def inform_super(_module, _query, _super_query, _data):
    return True


def operate(module, event, query, _data):
    """Answers whatever is asked for with the laboratory's address."""
    if event not in (unbound.MODULE_EVENT_NEW, unbound.MODULE_EVENT_PASS):
        query.ext_state[module] = unbound.MODULE_ERROR
        return True
    work()
    answer = unbound.DNSMessage(query.qinfo.qname_str, unbound.RR_TYPE_A, unbound.RR_CLASS_IN,
                                unbound.PKT_QR | unbound.PKT_RA | unbound.PKT_AA)
    answer.answer.append(f"{query.qinfo.qname_str} 60 IN A 10.99.0.1")
    if not answer.set_return_msg(query):
        query.ext_state[module] = unbound.MODULE_ERROR
        return True
    query.return_rcode = unbound.RCODE_NOERROR
    query.ext_state[module] = unbound.MODULE_FINISHED
    return True
